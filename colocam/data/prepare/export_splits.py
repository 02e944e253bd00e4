"""Export of split files: the split of a data folder in the format of `split_files`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from colocam.data.decoding.video_file import ImageFrames
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import SplitRecord
from colocam.data.prepare.atomic_folder import atomic_folder
from colocam.data.prepare.splits import Splits
from colocam.data.records import BoxedFrame, Shot, VideoData
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of


def export_splits(data: Path, seed: int) -> tuple[VideoData, Splits]:
    """Writes `data`/splits with the split that `open_data` makes of the folder.

    An id is the path of a folder (train) or an image file (val, test) below `data`; frames of video
    files have no such id.

    Args:
        data: a data folder without split files.
        seed: seed of the split of a plain folder into train, val and test.

    Returns:
        The opened data set, and the contents of the split files.

    Raises:
        UserError: split files exist already, a video is a file, or an id contains a line break;
            also the errors of `open_data`.
    """
    opened = open_without_splits(data, seed)
    _check_no_video_files(data, opened)
    root = data.absolute()

    def id_of(frame: BoxedFrame) -> str:
        assert isinstance(frame.frames, ImageFrames)  # _check_no_video_files
        return PurePath(frame.frames.paths[frame.index]).relative_to(root).as_posix()

    splits = splits_of(opened, id_of)
    with atomic_folder(data / "splits") as unfinished:
        splits.write(unfinished)
    return opened, splits


def open_without_splits(data: Path, seed: int) -> VideoData:
    """Opens a data folder without split files.

    Raises:
        UserError: `data`/splits exists; also the errors of `open_data`.
    """
    if os.path.lexists(data / "splits"):
        raise UserError(f"{data / 'splits'}: exists already; move it away to write new split files")
    return open_data(data, seed=seed)


def splits_of(opened: VideoData, id_of: Callable[[BoxedFrame], str]) -> Splits:
    """Converts the shots and frames of a data set to records of split files.

    Args:
        opened: the data set.
        id_of: returns the id of a frame of val or test.

    Raises:
        UserError: an id contains a line break.
    """
    records = {
        "train": [SplitRecord(shot.id, shot.label, None, ()) for shot in opened.train],
        "val": [_record(frame, id_of(frame)) for frame in opened.val],
        "test": [_record(frame, id_of(frame)) for frame in opened.test],
    }
    for record in (record for of_split in records.values() for record in of_split):
        if len(record.id.splitlines()) != 1:
            raise UserError(f"{record.id!r}: split files cannot store a line break; rename it")
    return Splits(opened.classes, records)


def _check_no_video_files(data: Path, opened: VideoData) -> None:
    records: Sequence[Shot | BoxedFrame] = (*opened.train, *opened.val, *opened.test)
    files = sorted({r.frames.name for r in records if not isinstance(r.frames, ImageFrames)})
    if files:
        raise UserError(
            f"{data / files[0]}: {count_of(len(files), 'video')} of this data folder "
            f"{'is a file' if len(files) == 1 else 'are files'}, but split files refer to image "
            "files; add --frames DST to write frames and split files to a new folder"
        )


def _record(frame: BoxedFrame, name: str) -> SplitRecord:
    (image,) = frame.frames.read([frame.index])
    size = None if image is None else (image.shape[1], image.shape[0])
    return SplitRecord(name, frame.label, size, frame.boxes)
