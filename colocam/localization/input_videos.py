"""Input videos: resolution of paths to videos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from colocam.data.decoding.images import is_image
from colocam.data.decoding.video_file import is_video_file
from colocam.data.file_order import in_order
from colocam.data.not_data import OVERLAY_SUFFIX, NotData, is_output, is_system_name
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of


def find_videos(paths: Sequence[Path], out: Path, notes: list[str]) -> list[Path]:
    """Resolves files and folders to videos, without opening them.

    A file is a video, whatever its name. A folder with image files and no video files is a video.
    Any other folder is searched for video files and folders of frames, in natural order, in
    the folder itself and one level below (`<class>/<video>`); folders of systems and outputs
    of colocam are skipped.

    Args:
        paths: files and folders.
        out: output folder of the command; overlay videos in it are skipped.
        notes: receives a line on what is skipped, and one for each folder with both images and
            videos, whose images are ignored.

    Returns:
        The videos in the order of `paths`, without duplicates.

    Raises:
        UserError: a path does not exist, or a folder cannot be listed or has no videos.
    """
    not_data = NotData()
    found: dict[Path, Path] = {}  # by resolved path, to detect duplicates
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        if path.is_dir():
            videos = list(_videos_in(path, out.resolve(), notes, not_data, 2))
        else:
            videos = [path]
        if not videos:
            raise UserError(
                f"{path}: holds no image files and no videos; give a video file, a folder of "
                "frames, or a folder of such videos"
            )
        for video in videos:
            found.setdefault(video.resolve(), video)
    notes += not_data.notes()
    return list(found.values())


def _videos_in(
    folder: Path, out: Path, notes: list[str], not_data: NotData, levels: int
) -> Iterator[Path]:
    """Videos of a folder, searched to a depth of `levels` folders."""
    entries = _entries(folder, not_data)
    files = [path for path in entries if _is_video_file(path, out)]
    images = sum(is_image(path.name) for path in entries)
    if images and not files:
        yield folder
        return
    if images:
        notes.append(f"{folder}: {count_of(images, 'image')} next to videos ignored")
    if not levels:
        return
    for path in entries:
        if path in files:
            yield path
        elif path.is_dir() and path.resolve() != out:
            yield from _videos_in(path, out, notes, not_data, levels - 1)


def _entries(folder: Path, not_data: NotData) -> list[Path]:
    try:
        names = in_order(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from error
    not_data.system += [str(folder / name) for name in names if is_system_name(name)]
    names = [name for name in names if not is_system_name(name) and not name.startswith(".")]
    outputs = [name for name in names if is_output(folder / name)]
    not_data.outputs += [str(folder / name) for name in outputs]
    return [folder / name for name in names if name not in outputs]


def _is_video_file(path: Path, out: Path) -> bool:
    if not is_video_file(path.name) or not path.is_file():
        return False
    return not (path.name.endswith(OVERLAY_SUFFIX) and path.parent.resolve() == out)
