"""Opening a data set: which layout lies in the folder, and what it holds."""

from __future__ import annotations

from pathlib import Path

from colocam.data.decoding.probe_cache import ProbeCache
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
) -> VideoData:
    """Open a data set without decoding more of it than is needed to check it.

    With split files (given, or in `data`/splits) their ids are folders and files below `data`, as
    in YouTube-Objects. Without them `data` is a plain folder `<class>/<video>`, a video being a
    file that OpenCV reads or a folder of frames, maybe with a `boxes.csv`.

    Args:
        data: the data folder.
        splits: the folder that holds class_id.yaml, train/, val/ and test/.
        seed: splits the videos of a plain folder into train, val and test.
        cut_over: of a plain folder, training videos of more frames are cut into shots; None: each
            is one shot.
        cache: a folder that remembers the videos of a plain folder: files are gone through once to
            count their frames, long videos once more to be cut, and not again by later runs.

    Returns:
        The shots to train on and the frames to evaluate on.

    Raises:
        UserError: for whatever the user has to mend, naming the file and what to do.
    """
    data = Path(data)
    if not data.is_dir():
        what = "not a folder" if data.exists() else "no such folder"
        raise UserError(f"{data}: {what}; --data takes a folder that holds one folder per class")
    if splits is None and (data / "splits" / "class_id.yaml").is_file():
        splits = data / "splits"
    if splits is not None:
        return open_split_layout(data, Path(splits))
    if any(data.glob("*/data/*/shots")):
        raise UserError(
            f"{data}: laid out as YouTube-Objects, which needs its split files; "
            "give their folder with --splits"
        )
    notes: list[str] = []
    known = None if cache is None else ProbeCache(cache)
    return hold_out(open_class_folders(data, notes, known), seed, notes, cut_over, known)
