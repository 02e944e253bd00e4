"""Entries of a data folder that are not data: folders and files of systems, outputs of colocam.

Outputs are recognized by their contents, whatever their names: a run folder, a report, results of
localization, stored maps, a frame cache and data folders that were written into this one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from colocam.data.decoding.images import IMAGE_SUFFIXES, is_image
from colocam.data.decoding.video_file import is_video_file
from colocam.runtime.messages import count_of

OVERLAY_SUFFIX = "-overlay.mp4"
"""Suffix of the overlay videos that localization writes."""
CSV_COLUMNS = ("frame", "time", "class", "probability", "x0", "y0", "x1", "y1", "score", "empty")
"""Columns of the CSV files that localization writes."""
TRACK_COLUMN = "track"
"""Last column of those files with all boxes."""
SOURCES_FILE = "videos.json"
"""File that localization writes into its output folder: the video of each result."""

_SYSTEM = (
    *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db"),
    *("desktop.ini", "__macosx", ".ds_store", "._*", ".spotlight-v100", ".fseventsd", ".trashes"),
    *("lost+found", ".trash", ".trash-*", "@eadir", "#recycle", "@recycle", ".@__thumb"),
)  # fmt: skip
# Files and folders that are together in an output.
_REPORT = (("table.md", "evaluation.json"), ("table.md", "contact_sheet.png"))
_RUN = (("config.json", "metrics.jsonl"), ("config.json", "checkpoints"))
_CACHED = re.compile(r"[0-9a-f]{40}\.(frames|video)")
_MAP = re.compile(rf"(\d{{8}}|.*({'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))}))\.npy", re.I)
_DEPTH = 8  # folders below a class that hold outputs only


@dataclass
class NotData:
    """Collects what is skipped in a data folder, for notes.

    Attributes:
        system: names of skipped folders and files of systems.
        outputs: names of skipped outputs.
    """

    system: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Lines for the user: how many of each kind are skipped, and the first of them."""
        kinds = (("item", "of the system", self.system), ("output", "of colocam", self.outputs))
        return [
            f"{count_of(len(names), thing)} {of} skipped (first: {names[0]})"
            for thing, of, names in kinds
            if names
        ]


def is_system_name(name: str) -> bool:
    """Returns whether a folder or file is one that operating and storage systems add."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in _SYSTEM)


def is_output(path: Path) -> bool:
    """Returns whether a file is an overlay of localization, or a folder a report.

    Of all outputs these could be taken for a video: a file of a video, a folder of images.
    """
    if path.name.endswith(OVERLAY_SUFFIX):
        return _is_table(path.with_name(path.name.removesuffix(OVERLAY_SUFFIX) + ".csv"))
    return any(all((path / name).exists() for name in names) for names in _REPORT)


def holds_only_outputs(folder: Path) -> bool:
    """Returns whether a folder without videos is an output, or all its folders are."""
    return _holds_only_outputs(folder, _DEPTH)


def _holds_only_outputs(folder: Path, depth: int) -> bool:
    names = [name for name in _listed(folder) if not is_system_name(name)]
    if _is_marked(folder, names):
        return True
    folders = [folder / name for name in names if (folder / name).is_dir()]
    files = {*names} - {inner.name for inner in folders}
    if depth == 0 or any(is_image(name) or is_video_file(name) for name in files):
        return False
    return bool(folders) and all(_holds_only_outputs(inner, depth - 1) for inner in folders)


def _is_marked(folder: Path, names: list[str]) -> bool:
    """Whether a folder without videos has files that only colocam writes."""
    there = set(names)
    if any(there.issuperset(together) for together in _REPORT + _RUN) or SOURCES_FILE in there:
        return True
    if (folder / "splits" / "class_id.yaml").exists() or _is_boxes_json(folder / "boxes.json"):
        return True
    return any(
        _CACHED.fullmatch(name)
        or _MAP.fullmatch(name)
        or (name.endswith(".csv") and _is_table(folder / name))
        or (name.endswith(".jsonl") and _beginning(folder / name).startswith('{"video": '))
        for name in names
    )


def _listed(folder: Path) -> Iterator[str]:
    try:
        yield from (name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return


def _is_table(path: Path) -> bool:
    """Whether a file is a table of localization."""
    columns = ",".join(CSV_COLUMNS)
    return _beginning(path) in (f"{columns}\n", f"{columns},{TRACK_COLUMN}\n")


def _is_boxes_json(path: Path) -> bool:
    """Whether a file is a list of records of localization."""
    return _beginning(path, lines=2).startswith('[\n{"video": ')


def _beginning(path: Path, lines: int = 1) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return "".join(file.readline(1000) for _ in range(lines))
    except OSError:
        return ""
