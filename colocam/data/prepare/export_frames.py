"""Export of frames: converts a plain folder of video files to folders of image files.

Split files refer to frames by image file, so they cannot describe video files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2

from colocam.data.decoding.video_file import ImageFrames
from colocam.data.prepare.atomic_folder import atomic_folder
from colocam.data.prepare.export_splits import open_without_splits, splits_of
from colocam.data.prepare.place_frames import link_or_copy
from colocam.data.prepare.splits import Splits
from colocam.data.records import BoxedFrame, FrameSource, Shot, VideoData

QUALITY = 95  # JPEG quality


def export_frames(
    data: Path, target: Path, seed: int, advance: Callable[[int, int], None]
) -> tuple[VideoData, Splits, Counter[str]]:
    """Writes a data folder with all frames as image files, and split files.

    A video file becomes a folder of the same name with one JPEG file per frame, 00000000.jpg the
    first. Frames that are already image files are hard-linked or copied.

    Args:
        data: a data folder without split files; it is not changed.
        target: the folder to write, atomically.
        seed: seed of the split of a plain folder into train, val and test.
        advance: progress callback; receives the number of finished frames and the total.

    Returns:
        The opened data set, the contents of the split files, and how many frames were "decoded",
        "hard-linked", "copied" and "undecodable".

    Raises:
        UserError: split files exist already; also the errors of `open_data` and `atomic_folder`.
    """
    done: Counter[str] = Counter()
    with atomic_folder(target) as unfinished:
        opened = open_without_splits(data, seed)
        records: Sequence[Shot | BoxedFrame] = (*opened.train, *opened.val, *opened.test)
        sources = {record.frames.name: record.frames for record in records}
        total = sum(len(source) for source in sources.values())
        for source in sources.values():
            folder = unfinished / source.name
            folder.mkdir(parents=True)
            if isinstance(source, ImageFrames):
                for path in source.paths:
                    done[link_or_copy(path, os.fspath(folder / os.path.basename(path)))] += 1
                advance(done.total(), total)
            else:
                for how in _decode(source, folder):
                    done[how] += 1
                    advance(done.total(), total)
        splits = splits_of(opened, _id_of)
        splits.write(unfinished / "splits")
    return opened, splits, done


def _decode(source: FrameSource, folder: Path) -> Iterator[str]:
    """Writes all frames; yields "decoded" or "undecodable" for each."""
    for index, frame in enumerate(source):
        if frame is None:
            yield "undecodable"
            continue
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        (folder / _file_name(index)).write_bytes(data.tobytes())
        yield "decoded"


def _id_of(frame: BoxedFrame) -> str:
    source = frame.frames
    if isinstance(source, ImageFrames):
        return f"{source.name}/{os.path.basename(source.paths[frame.index])}"
    return f"{source.name}/{_file_name(frame.index)}"


def _file_name(index: int) -> str:
    return f"{index:08d}.jpg"
