"""YouTube-Objects v1 in its published layout (Prest et al. 2012).

Frames are `<class>/data/<video>/shots/<shot>/frameNNNN.jpg`, with boxes in
`frameNNNN.jpg_sticks.mat` in the same folder. `<class>/sets/train.txt` and `test.txt` list videos.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from colocam.data.decoding.images import is_image
from colocam.data.file_order import in_order
from colocam.data.prepare.mat_files import read_sticks
from colocam.data.prepare.source_set import Faults, SourceSet, SourceShot, walk
from colocam.data.records import Box
from colocam.runtime.errors import UserError

PUBLISHED = {
    "classes": 10,
    "videos": 155,
    "shots": 5507,
    "frames": 571_089,
    "test videos": 27,
    "test frames": 346,
    "test boxes": 396,
}
VALIDATION_VIDEOS = 5  # per class
_STICKS = "_sticks.mat"


def read_v1(roots: Sequence[Path], faults: Faults, annotations: bool) -> SourceSet:
    """Reads shots, boxes and lists of videos at any depth below the roots.

    Args:
        roots: folders to search; a class may be in several of them.
        faults: receives skipped items.
        annotations: whether to read boxes and lists of videos; not needed with given split files.

    Raises:
        UserError: there are no frames in this layout, a class has no lists, a shot is in two
            folders, or a file cannot be read.
    """
    shots: dict[str, SourceShot] = {}
    folders: dict[str, Path] = {}
    lists: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    num_frames = 0
    for folder, files in walk(roots, faults):
        parts = folder.parts[-5:]
        if len(parts) == 5 and parts[1] == "data" and parts[3] == "shots":
            shot = "/".join(parts)
            if shot in folders:
                raise UserError(f"{folder}: the same shot is in {folders[shot]}; keep one of them")
            folders[shot] = folder
            num_frames += sum(is_image(file.name) for file in files)
            source_shot = _shot(shot, folder, files, faults, annotations)
            if source_shot.frames:
                shots[shot] = source_shot
            else:
                faults.add("empty shots skipped", shot)
        elif folder.name == "sets":
            for file in files:
                lists[folder.parent.name][file.name] = Path(file.path)
    if not shots:
        raise UserError(
            f"{roots[0]}: holds no frames laid out as <class>/data/<video>/shots/<shot>/*.jpg"
        )
    videos = {shot.rsplit("/", 2)[0] for shot in folders}
    counts = {
        "classes": len({shot.split("/")[0] for shot in folders}),
        "videos": len(videos),
        "shots": len(folders),
        "frames": num_frames,
    }
    tests = _test_videos(videos, lists, faults) if annotations else frozenset()
    return SourceSet(tuple(shots[shot] for shot in in_order(shots)), tests, counts)


def _shot(
    shot: str, folder: Path, files: list[os.DirEntry[str]], faults: Faults, annotations: bool
) -> SourceShot:
    """The shot in a folder; its frames may be none."""
    frames = []
    for file in files:
        if is_image(file.name):
            if file.stat().st_size:
                frames.append(file.name)
            else:
                faults.add("zero-byte frames skipped", f"{shot}/{file.name}")
    boxes: dict[str, tuple[Box, ...]] = {}
    for file in files if annotations else ():
        if file.name.endswith(_STICKS):
            frame = file.name.removesuffix(_STICKS)
            if frame in frames:
                boxes[frame] = read_sticks(Path(file.path))
            else:
                faults.add("boxed frames that are missing or empty, skipped", f"{shot}/{frame}")
    boxes = {frame: of_frame for frame, of_frame in boxes.items() if of_frame}
    return SourceShot(shot, shot.split("/")[0], os.fspath(folder), tuple(frames), boxes)


def _test_videos(
    videos: set[str], lists: dict[str, dict[str, Path]], faults: Faults
) -> frozenset[str]:
    """Ids of the videos in test.txt; a video in neither list is a training video."""
    tests: set[str] = set()
    listed: set[str] = set()
    for name in sorted({video.split("/")[0] for video in videos}):
        for file in ("train.txt", "test.txt"):
            if file not in lists.get(name, ()):
                raise UserError(
                    f"{name}/sets/{file}: not found; add the set's lists of videos, or use "
                    "split files with --splits"
                )
        videos_of_class = {video for video in videos if video.startswith(f"{name}/")}
        tests |= _listed(lists[name]["test.txt"], name, videos_of_class, faults)
        listed |= _listed(lists[name]["train.txt"], name, videos_of_class, faults)
    for video in sorted(videos - tests - listed):
        faults.add("videos in neither list, used for training", video)
    for video in sorted(tests & listed):
        faults.add("videos in both lists, used for testing", video)
    return frozenset(tests)


def _listed(path: Path, name: str, videos_of_class: set[str], faults: Faults) -> set[str]:
    """Ids of the videos of a list, which has their numbers: 1, 0001 or data/0001."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as text") from error
    videos = set()
    for word in words:
        video = f"{name}/data/{word.rstrip('/').rsplit('/', 1)[-1].zfill(4)}"
        if video in videos_of_class:
            videos.add(video)
        else:
            faults.add("listed videos that are missing", video)
    return videos
