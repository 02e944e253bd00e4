"""Stored split: the videos that a run trains, validates and tests on, kept with it.

The split of a plain folder is drawn from the videos in it, and another draw follows when one is
added. A stored split names the videos of the first draw, with a fingerprint of their contents: a
renamed video is found again, and a folder of other videos with the same names is told apart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.records import BoxedFrame, FrameSource, VideoData
from colocam.data.shots.shots import position_in_video

PARTS = ("train", "val", "test")
_EDGE = 65_536  # bytes at the start and at the end of a file that enter its fingerprint


@dataclass(frozen=True)
class StoredSplit:
    """Names of videos with the fingerprints of their contents, by part.

    With split files, names are folders of shots, and those of val and test have no fingerprint.

    Attributes:
        train, val, test: fingerprint by name, "" if it is not known. A video of `train` is in no
            other part, also if its frames are evaluated (in a class of fewer than three videos).
    """

    train: Mapping[str, str] = field(default_factory=dict)
    val: Mapping[str, str] = field(default_factory=dict)
    test: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: VideoData) -> StoredSplit:
        """Split of an opened data set; reads the ends of one file per video."""
        videos = {shot.video: position_in_video(shot.frames, 0)[0] for shot in data.train}
        if data.has_split_files:
            train = {shot.id: fingerprint(shot.frames) for shot in data.train}
            return cls(train, *(_folders(frames, train) for frames in (data.val, data.test)))
        held_out = [
            {one.video: one.frames for one in frames if one.video not in videos}
            for frames in (data.val, data.test)
        ]
        return cls(
            *({n: fingerprint(source) for n, source in of.items()} for of in (videos, *held_out))
        )

    @classmethod
    def from_json(cls, values: Any) -> StoredSplit:
        """Inverse of `to_json`.

        Raises:
            ValueError: `values` is not a split.
        """
        if not isinstance(values, dict) or values.keys() != set(PARTS):
            raise ValueError("no train, val and test")
        for part in values.values():
            if not isinstance(part, dict) or not all(isinstance(v, str) for v in part.values()):
                raise ValueError("names without fingerprints")
        return cls(**values)

    def to_json(self) -> dict[str, dict[str, str]]:
        """JSON types."""
        return {part: dict(getattr(self, part)) for part in PARTS}

    def extended(self, other: StoredSplit) -> StoredSplit:
        """This split and the videos of another one; a video that either trains on is in train."""
        train = {**self.train, **other.train}
        held_out = ({**self.val, **other.val}, {**self.test, **other.test})
        return StoredSplit(
            train, *({n: f for n, f in part.items() if n not in train} for part in held_out)
        )

    def has_held_out(self, class_name: str) -> bool:
        """Whether a video of this class is in val or test."""
        return any(name.startswith(f"{class_name}/") for name in (*self.val, *self.test))

    def match(self, videos: Mapping[str, str]) -> Match:
        """Finds the videos of a folder in this split.

        Args:
            videos: fingerprints of the videos of the folder, by name.
        """
        parts = {name: part for part in reversed(PARTS) for name in getattr(self, part)}
        known = {**self.test, **self.val, **self.train}
        by_contents = {known[name]: name for name in known if known[name]}  # train is the last
        match = Match()
        for name, contents in videos.items():
            twin = by_contents.get(contents) if contents else None
            if name in parts and known[name] in ("", contents):
                match.parts[name] = parts[name]
                match.same += [name] if known[name] else []
            elif twin is not None and (parts[twin] == "train" or twin not in videos):
                match.parts[name] = parts[twin]
                match.renamed[name] = twin
            elif name in parts:
                match.parts[name] = parts[name]
                match.changed.append(name)
            else:
                match.new.append(name)
        found = {*videos.values()} - {""}
        match.missing += [n for n in known if n not in videos and known[n] not in found]
        return match


@dataclass
class Match:
    """Videos of a folder in a stored split.

    Attributes:
        parts: "train", "val" or "test" by name, of all videos that are not new.
        same: names of videos with the name and contents of one of the split.
        renamed: names of videos with the contents of one of another name: that name. If that one is
            in the folder too, it is a training video.
        changed: names of videos that are in the split with other contents.
        new: names of videos that are not in the split.
        missing: names of the split that are not in the folder.
    """

    parts: dict[str, str] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def fingerprint(frames: FrameSource) -> str:
    """Fingerprint of a video's contents: both ends of its file, or of its middle image.

    Returns:
        16 hexadecimal digits; "" if the file cannot be read.
    """
    if isinstance(frames, ImageFrames):
        files = frames.paths
    elif isinstance(frames, VideoFrames):
        files = (frames.path,)
    else:
        return ""
    try:
        with open(sorted(files)[len(files) // 2], "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(f"{len(files)} {size} ".encode())
            digest.update(file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            digest.update(file.read(_EDGE))
    except OSError:
        return ""
    return digest.hexdigest()[:16]


def shot_of(frame: BoxedFrame) -> str:
    """Folder of the shot of an evaluation frame of split files."""
    return str(PurePosixPath(frame.id).parent)


def _folders(frames: Iterable[BoxedFrame], train: Mapping[str, str]) -> dict[str, str]:
    return {name: "" for name in map(shot_of, frames) if name not in train}
