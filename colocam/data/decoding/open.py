"""Opening a video: a video file or a folder of images, as a frame source."""

from __future__ import annotations

from pathlib import Path

from colocam.data.decoding.images import ImageFrames, open_image_folder
from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.decoding.video_file import VideoFrames, open_video_file
from colocam.data.file_order import FileOrder
from colocam.runtime.errors import UserError


def open_video(
    path: str | Path,
    name: str,
    notes: list[str] | None = None,
    probe_cache: ProbeCache | None = None,
    order: FileOrder = "natural",
) -> ImageFrames | VideoFrames:
    """Opens a folder of images (in natural order: frame2 before frame10) or a video file.

    The packets of a video file are counted, or its frames, see `colocam.data.decoding.probing`. Of
    a folder, images are decoded until one succeeds. Invalid frames, truncated images included, keep
    their number and are read as None; a frame truncated by the end of a video file is not counted.

    Args:
        path: path of the folder or the file.
        name: name for messages and records.
        notes: list to which lines for the user are appended: zero-byte frames, or a container that
            reports noticeably more frames than can be decoded.
        probe_cache: cache of the results of probing video files; None: the file is probed.
        order: order of the names of images.

    Returns:
        The frame source.

    Raises:
        UserError: `path` does not exist, cannot be read, or contains no frame that can be decoded.
    """
    notes = [] if notes is None else notes
    path = Path(path).absolute()
    if path.is_dir():
        return open_image_folder(path, name, notes, order)
    try:
        path.open("rb").close()  # PyAV's captures do not report why they cannot open a file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return open_video_file(path, name, notes, probe_cache)
