"""YouTube-Objects v1 as published: a folder a shot, boxes beside the frames.

`<class>/data/<video>/shots/<shot>/frameNNNN.jpg`, boxes in `frameNNNN.jpg_sticks.mat`, and
`<class>/sets/train.txt` and `test.txt`, which list videos (Prest et al. 2012).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from colocam.data.decoding.images import is_image
from colocam.data.prepare.mat_files import read_sticks
from colocam.data.prepare.source_set import Faults, FoundSet, FoundShot, walk
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
VALIDATION_VIDEOS = 5  # of each class
_STICKS = "_sticks.mat"


def find_v1(roots: Sequence[Path], faults: Faults, annotations: bool) -> FoundSet:
    """Finds the shots, boxes and lists of videos at any depth below the roots.

    Args:
        roots: folders to look through; a class may lie in several of them.
        faults: receives what is left out.
        annotations: read boxes and lists of videos too; not needed where split files are given.

    Raises:
        UserError: nothing in this layout, a class without its lists, a shot found twice, or a
            file that cannot be read.
    """
    shots: dict[str, FoundShot] = {}
    places: dict[str, Path] = {}
    lists: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    num_frames = 0
    for folder, files in walk(roots):
        parts = folder.parts[-5:]
        if len(parts) == 5 and parts[1] == "data" and parts[3] == "shots":
            shot = "/".join(parts)
            if shot in places:
                raise UserError(f"{folder}: found before in {places[shot]}; leave one of them")
            places[shot] = folder
            num_frames += sum(is_image(file.name) for file in files)
            found = _shot(shot, folder, files, faults, annotations)
            if found.frames:
                shots[shot] = found
            else:
                faults.add("empty shots left out", shot)
        elif folder.name == "sets":
            for file in files:
                lists[folder.parent.name][file.name] = Path(file.path)
    if not shots:
        raise UserError(
            f"{roots[0]}: holds no frames laid out as <class>/data/<video>/shots/<shot>/*.jpg"
        )
    videos = {shot.rsplit("/", 2)[0] for shot in places}
    counts = {
        "classes": len({shot.split("/")[0] for shot in places}),
        "videos": len(videos),
        "shots": len(places),
        "frames": num_frames,
    }
    tests = _test_videos(videos, lists, faults) if annotations else frozenset()
    return FoundSet(tuple(shots[shot] for shot in sorted(shots)), tests, counts)


def _shot(
    shot: str, folder: Path, files: list[os.DirEntry[str]], faults: Faults, annotations: bool
) -> FoundShot:
    frames = []
    for file in files:
        if is_image(file.name):
            if file.stat().st_size:
                frames.append(file.name)
            else:
                faults.add("zero-byte frames left out", f"{shot}/{file.name}")
    boxes: dict[str, tuple[Box, ...]] = {}
    for file in files if annotations else ():
        if file.name.endswith(_STICKS):
            frame = file.name.removesuffix(_STICKS)
            if frame in frames:
                boxes[frame] = read_sticks(Path(file.path))
            else:
                faults.add("boxed frames that are missing or empty left out", f"{shot}/{frame}")
    boxes = {frame: of_frame for frame, of_frame in boxes.items() if of_frame}
    return FoundShot(shot, shot.split("/")[0], os.fspath(folder), tuple(frames), boxes)


def _test_videos(
    videos: set[str], lists: dict[str, dict[str, Path]], faults: Faults
) -> frozenset[str]:
    """Ids of the videos that test.txt lists. What neither list names trains."""
    tests: set[str] = set()
    listed: set[str] = set()
    for name in sorted({video.split("/")[0] for video in videos}):
        for file in ("train.txt", "test.txt"):
            if file not in lists.get(name, ()):
                raise UserError(
                    f"{name}/sets/{file}: not found; add the set's lists of videos, or give split "
                    "files with --splits"
                )
        known = {video for video in videos if video.startswith(f"{name}/")}
        tests |= _listed(lists[name]["test.txt"], name, known, faults)
        listed |= _listed(lists[name]["train.txt"], name, known, faults)
    for video in sorted(videos - tests - listed):
        faults.add("videos that no list names, kept for training", video)
    for video in sorted(tests & listed):
        faults.add("videos listed for both training and testing, kept for testing", video)
    return frozenset(tests)


def _listed(path: Path, name: str, known: set[str], faults: Faults) -> set[str]:
    """Ids of the videos of a list, which names them by number: 1, 0001 or data/0001."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as text") from error
    videos = set()
    for word in words:
        video = f"{name}/data/{word.rstrip('/').rsplit('/', 1)[-1].zfill(4)}"
        if video in known:
            videos.add(video)
        else:
            faults.add("listed videos that are missing", video)
    return videos
