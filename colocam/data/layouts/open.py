"""Opening a data set: detects the layout of the folder and reads its records."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from colocam.data.decoding.images import ImageFrames, list_frames
from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.file_order import FileOrder
from colocam.data.layouts.class_folder import open_class_folders
from colocam.data.layouts.holdout import hold_out
from colocam.data.layouts.split_layout import open_split_layout
from colocam.data.layouts.stored_split import StoredSplit, fingerprint, shot_of
from colocam.data.records import VideoData
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of


def open_data(
    data: str | Path,
    splits: str | Path | None = None,
    *,
    seed: int = 0,
    cut_over: int | None = None,
    cache: Path | None = None,
    split: StoredSplit | None = None,
    evaluating: bool = False,
    order: FileOrder = "natural",
) -> VideoData:
    """Opens a data set; decodes only the frames needed for validation of the files.

    With split files (given, or in `data`/splits), their ids are folders and files below `data`, as
    in YouTube-Objects. Without split files, `data` is a plain folder `<class>/<video>`, where a
    video is a file that FFmpeg reads or a folder of frames, with an optional `boxes.csv`.

    Args:
        data: the data folder.
        splits: the folder that contains class_id.yaml, train/, val/ and test/.
        seed: seed of the split of a plain folder into train, val and test.
        cut_over: training videos of a plain folder with more frames are cut into shots; None: each
            is one shot.
        cache: folder of the probe cache, which stores frame counts and cuts of the video files of a
            plain folder between runs; None: files are probed at every call.
        split: split of the run that is resumed or evaluated: it takes the place of the draw; None:
            there is none. Split files go before it, and frames that it trained on are noted.
        evaluating: whether a checkpoint is evaluated, see `hold_out`.
        order: order of classes, videos and frames, by file name.

    Returns:
        Training shots and evaluation frames.

    Raises:
        UserError: the data set is invalid; the message names the file and what to do.
    """
    data = Path(data)
    if not data.is_dir():
        what = "not a folder" if data.exists() else "no such folder"
        raise UserError(f"{data}: {what}; a data folder contains one folder per class")
    if splits is None and (data / "splits" / "class_id.yaml").is_file():
        splits = data / "splits"
    if splits is not None:
        opened = open_split_layout(data, Path(splits), order)
        return opened if split is None else _with_trained_noted(data, opened, split, order)
    if any(data.glob("*/data/*/shots")):
        raise UserError(
            f"{data}: has the layout of YouTube-Objects, which needs its split files; "
            "give their folder with --splits"
        )
    notes: list[str] = []
    probe_cache = None if cache is None else ProbeCache(cache)
    videos = open_class_folders(data, notes, probe_cache, order)
    if evaluating and split is None:
        notes.append(
            "the checkpoint holds no split (an earlier version wrote it): the split is drawn from "
            "the videos that are in the folder now"
        )
    return hold_out(videos, seed, notes, cut_over, probe_cache, split, evaluating)


def _with_trained_noted(
    data: Path, opened: VideoData, split: StoredSplit, order: FileOrder
) -> VideoData:
    """Adds a note on test frames in shots that the run trained on, though these files do not."""
    listed = {shot.id for shot in opened.train}
    shots = {shot_of(frame) for frame in opened.test} & split.train.keys() - listed
    trained = {name for name in shots if _contents(data / name, order) in ("", split.train[name])}
    frames = [frame.id for frame in opened.test if shot_of(frame) in trained]
    if not frames:
        return opened
    verb = "is in a shot" if len(frames) == 1 else "are in shots"
    total = count_of(len(opened.test), "test frame")
    note = f"{len(frames)} of {total} {verb} that the run trained on (first: {frames[0]})"
    return replace(opened, notes=(*opened.notes, note))


def _contents(folder: Path, order: FileOrder) -> str:
    """Fingerprint of the frames in a folder; "" if they cannot be read."""
    with suppress(OSError):
        return fingerprint(ImageFrames(list_frames(folder, order), folder.name))
    return ""
