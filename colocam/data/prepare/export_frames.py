"""A plain folder of videos as folders of frames, which is all that split files can name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from colocam.data.decoding.images import ImageFrames
from colocam.data.prepare.atomic_folder import whole_folder
from colocam.data.prepare.export_splits import choice_of, open_without_splits
from colocam.data.prepare.place_frames import link_or_copy
from colocam.data.prepare.split_choice import Choice
from colocam.data.records import BoxedFrame, FrameSource, VideoData

QUALITY = 95  # of the JPEG files


def export_frames(
    data: Path, target: Path, seed: int, advance: Callable[[int, int], None]
) -> tuple[VideoData, Choice, Counter[str]]:
    """Writes a data folder that holds every frame as an image file, and split files.

    A video file becomes a folder of its name with a JPEG file a frame, 00000000.jpg being the
    first; frames that are image files already are linked or copied.

    Args:
        data: a data folder without split files; it stays as it is.
        target: the folder to write, whole or not at all.
        seed: splits the videos of a plain folder into train, val and test.
        advance: told how many frames are done, and of how many.

    Returns:
        The data as opened, what the split files hold, and how many frames were "decoded",
        "hard-linked", "copied" and "undecodable".

    Raises:
        UserError: there are split files already, or what `open_data` and `whole_folder` raise.
    """
    done: Counter[str] = Counter()
    with whole_folder(target) as unfinished:
        opened = open_without_splits(data, seed)
        records = (*opened.train, *opened.val, *opened.test)
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
        choice = choice_of(opened, _id_of)
        choice.write(unfinished / "splits")
    return opened, choice, done


def _decode(source: FrameSource, folder: Path) -> Iterator[str]:
    """Writes each frame; tells what became of it."""
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
    is_images = isinstance(source, ImageFrames)
    name = os.path.basename(source.paths[frame.index]) if is_images else _file_name(frame.index)
    return f"{source.name}/{name}"


def _file_name(index: int) -> str:
    return f"{index:08d}.jpg"
