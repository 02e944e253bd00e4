"""Opening a data set: detects the layout of the folder and reads its records."""

from __future__ import annotations

from pathlib import Path

from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.file_order import FileOrder
from colocam.data.layouts.class_folder import open_class_folders
from colocam.data.layouts.holdout import hold_out
from colocam.data.layouts.split_layout import open_split_layout
from colocam.data.records import VideoData
from colocam.runtime.errors import UserError


def open_data(
    data: str | Path,
    splits: str | Path | None = None,
    *,
    seed: int = 0,
    cut_over: int | None = None,
    cache: Path | None = None,
    order: FileOrder = "natural",
) -> VideoData:
    """Opens a data set; decodes only the frames needed for validation of the files.

    With split files (given, or in `data`/splits), their ids are folders and files below `data`, as
    in YouTube-Objects. Without split files, `data` is a plain folder `<class>/<video>`, where a
    video is a file that OpenCV reads or a folder of frames, with an optional `boxes.csv`.

    Args:
        data: the data folder.
        splits: the folder that contains class_id.yaml, train/, val/ and test/.
        seed: seed of the split of a plain folder into train, val and test.
        cut_over: training videos of a plain folder with more frames are cut into shots; None: each
            is one shot.
        cache: folder of the probe cache, which stores frame counts and cuts of the video files of a
            plain folder between runs; None: files are probed at every call.
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
        return open_split_layout(data, Path(splits), order)
    if any(data.glob("*/data/*/shots")):
        raise UserError(
            f"{data}: has the layout of YouTube-Objects, which needs its split files; "
            "give their folder with --splits"
        )
    notes: list[str] = []
    probe_cache = None if cache is None else ProbeCache(cache)
    videos = open_class_folders(data, notes, probe_cache, order)
    return hold_out(videos, seed, notes, cut_over, probe_cache)
