"""Names that a file of boxes may give a frame."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress

from colocam.data.decoding.images import ImageFrames, list_frames
from colocam.data.file_order import FileOrder
from colocam.data.loading.seed_maps import frame_name
from colocam.data.records import BoxedFrame
from colocam.data.shots.shots import position_in_video


def normal_name(name: str) -> str:
    """Returns the name of a frame in NFC, with slashes and without "./"."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


class FrameNames:
    """Names of frames: that of the stored map, and VIDEO#NUMBER.

    "cat/garden/0007.jpg" and "cat/garden#7" are the same frame of a folder, "cat/0.mp4/00000007"
    and "cat/0.mp4#7" the same of a file.

    Args:
        order: order of the frames in a folder, which their numbers refer to.
    """

    def __init__(self, order: FileOrder = "natural") -> None:
        self._order = order
        self._numbers: dict[str, dict[str, int]] = {}  # of the images by name, by folder

    def of(self, record: BoxedFrame) -> tuple[str, ...]:
        """Returns the names of a frame."""
        video, index = position_in_video(record.frames, record.index)
        stored = frame_name(record.frames, record.index)
        names = [stored]
        if not isinstance(video, ImageFrames):
            names.append(f"{video.name}#{index}")
        else:  # it may be a source of one image
            folder, image = os.path.split(video.paths[index])
            number = self._in(folder).get(image)
            names += [] if number is None else [f"{os.path.dirname(stored)}#{number}"]
        return tuple(map(normal_name, names))

    def _in(self, folder: str) -> dict[str, int]:
        if folder not in self._numbers:
            paths: tuple[str, ...] = ()
            with suppress(OSError):
                paths = list_frames(folder, self._order)
            numbers = {os.path.basename(path): number for number, path in enumerate(paths)}
            self._numbers[folder] = numbers
        return self._numbers[folder]
