"""Which videos a command's arguments mean, and what the files made of each are called."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from colocam.data.decoding.images import is_image
from colocam.data.layouts.class_folder import VIDEO_SUFFIXES
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

OVERLAY_SUFFIX = "-overlay.mp4"
"""How the files end that the localizing command writes; in its own folder they are no input."""


def find_videos(paths: Sequence[Path], out: Path, notes: list[str]) -> list[Path]:
    """The videos that are meant, each once, none of them opened.

    A file is a video, whatever its name. A folder is one if images lie in it; if video files do, or
    neither, it stands for its videos: the files in it, and its folders, which are folders of frames
    or hold videos in turn (`<class>/<video>`), sorted by name. Deeper it is not searched.

    Args:
        paths: files and folders, in the order wanted.
        out: the folder that the command writes to; what it wrote there before is left out.
        notes: receives a line where images lie beside videos and are ignored.

    Raises:
        UserError: nothing there, a folder that cannot be listed or holds no video.
    """
    found: dict[Path, Path] = {}  # by what they are, so that none comes twice
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        videos = list(_videos_in(path, out.resolve(), notes, 2)) if path.is_dir() else [path]
        if not videos:
            raise UserError(
                f"{path}: holds no image files and no videos; give a video file, a folder of "
                "frames, or a folder that holds such videos"
            )
        for video in videos:
            found.setdefault(video.resolve(), video)
    return list(found.values())


def file_names(videos: Sequence[Path]) -> list[str]:
    """What each video's files are called; videos of the same name get a number behind it."""
    names: list[str] = []
    taken: set[str] = set()  # as file systems that ignore case would see them
    for path in videos:
        whole = path.resolve()
        stem = whole.name if whole.is_dir() else whole.stem
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        for name in itertools.chain([stem], numbered):
            key = unicodedata.normalize("NFC", name).casefold()
            if key not in taken:
                break
        taken.add(key)
        names.append(name)
    return names


def _videos_in(folder: Path, out: Path, notes: list[str], levels: int) -> Iterator[Path]:
    entries = _entries(folder)
    files = [path for path in entries if _is_video_file(path, out)]
    images = sum(is_image(path.name) for path in entries)
    if images and not files:
        yield folder
        return
    if images:
        notes.append(f"{folder}: {count_of(images, 'image')} beside its videos ignored")
    if not levels:
        return
    for path in entries:
        if path in files:
            yield path
        elif path.is_dir() and path.resolve() != out:
            yield from _videos_in(path, out, notes, levels - 1)


def _entries(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from error
    return [folder / name for name in names]


def _is_video_file(path: Path, out: Path) -> bool:
    if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
        return False
    return not (path.name.endswith(OVERLAY_SUFFIX) and path.parent.resolve() == out)
