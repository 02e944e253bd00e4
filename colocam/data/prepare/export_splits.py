"""Split files of the field for any data folder, so that other people's code reads ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from colocam.data.decoding.images import ImageFrames
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import SplitRecord
from colocam.data.prepare.atomic_folder import whole_folder
from colocam.data.prepare.split_choice import Choice
from colocam.data.records import BoxedFrame, Shot, VideoData
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of


def export_splits(data: Path, seed: int) -> tuple[VideoData, Choice]:
    """Writes `data`/splits: what `open_data` makes of the folder, in the field's format.

    An id is a folder (train) or an image file (val, test) below `data`; a video that is one file
    cannot be named so.

    Args:
        data: a data folder without split files.
        seed: splits the videos of a plain folder into train, val and test.

    Returns:
        The data as opened, and what was written.

    Raises:
        UserError: there are split files already, a video is a file, an id holds a line break, or
            what `open_data` raises.
    """
    opened = open_without_splits(data, seed)
    _refuse_files(data, opened)
    root = data.absolute()

    def id_of(frame: BoxedFrame) -> str:
        assert isinstance(frame.frames, ImageFrames)  # _refuse_files
        return PurePath(frame.frames.paths[frame.index]).relative_to(root).as_posix()

    choice = choice_of(opened, id_of)
    with whole_folder(data / "splits") as unfinished:
        choice.write(unfinished)
    return opened, choice


def open_without_splits(data: Path, seed: int) -> VideoData:
    """Opens a data folder that has no split files yet."""
    if os.path.lexists(data / "splits"):
        raise UserError(
            f"{data / 'splits'}: exists already; move it away to have split files written anew"
        )
    return open_data(data, seed=seed)


def choice_of(opened: VideoData, id_of: Callable[[BoxedFrame], str]) -> Choice:
    """The shots and frames of a data set as records of split files.

    Args:
        opened: the data set.
        id_of: gives the id of a frame of val or test.

    Raises:
        UserError: an id holds a line break, or a frame cannot be decoded.
    """
    records = {
        "train": [SplitRecord(shot.id, shot.label, None, ()) for shot in opened.train],
        "val": [_record(frame, id_of(frame)) for frame in opened.val],
        "test": [_record(frame, id_of(frame)) for frame in opened.test],
    }
    for record in (record for of_split in records.values() for record in of_split):
        if len(record.id.splitlines()) != 1:
            raise UserError(f"{record.id!r}: cannot stand on a line of its own; rename it")
    return Choice(opened.classes, records)


def _refuse_files(data: Path, opened: VideoData) -> None:
    records: Sequence[Shot | BoxedFrame] = (*opened.train, *opened.val, *opened.test)
    files = sorted({r.frames.name for r in records if not isinstance(r.frames, ImageFrames)})
    if files:
        raise UserError(
            f"{data / files[0]}: {count_of(len(files), 'video')} of this data folder "
            f"{'is a file' if len(files) == 1 else 'are files'}, but split files name frames as "
            "image files; add --frames DST to have frames and split files written there"
        )


def _record(frame: BoxedFrame, name: str) -> SplitRecord:
    (image,) = frame.frames.read([frame.index])
    size = None if image is None else (image.shape[1], image.shape[0])
    return SplitRecord(name, frame.label, size, frame.boxes)
