"""Output folder of localization: which video each result belongs to, and the records of all.

A result of the same video is replaced; that of another video, and any other file, is kept.
"""

from __future__ import annotations

import itertools
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colocam.data.not_data import OVERLAY_SUFFIX, SOURCES_FILE
from colocam.evaluation.predictions import write_records
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_atomic
from colocam.runtime.messages import count_of

ENDS = ".csv", OVERLAY_SUFFIX, ".html"
"""Ends of the names of a video's files."""


class ResultFolder:
    """Results of localization in a folder: NAME.csv, NAME-overlay.mp4 and NAME.html per video,
    and boxes.json.

    `videos.json` in the folder holds, by NAME, the path of the video as it was given and as it is
    in the file system.

    Args:
        folder: the folder; it need not exist.

    Raises:
        UserError: boxes.json or videos.json in the folder was not written by localization.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.records_file = folder, folder / "boxes.json"
        self._sources_file = folder / SOURCES_FILE
        self._sources = _read(self._sources_file, dict)
        self._records: dict[str, list[dict[str, Any]]] = {}
        for record in _read(self.records_file, list):
            self._records.setdefault(record["video"], []).append(record)

    def names(self, videos: Sequence[Path], notes: list[str]) -> list[str]:
        """Returns NAME of each video: that of its earlier result, or the next that is free.

        Names are unique on case-insensitive file systems, too.

        Args:
            videos: paths of the videos, without duplicates.
            notes: receives a line on videos that get another name than theirs.
        """
        earlier = {source["path"]: name for name, source in self._sources.items()}
        used = {_key(name) for name in self._sources}
        names: list[str] = []
        renamed: list[str] = []
        for path in videos:
            resolved = path.resolve()
            stem = resolved.name if resolved.is_dir() else resolved.stem
            name = earlier.get(str(resolved))
            if name is None:
                numbered = (f"{stem}-{number}" for number in itertools.count(2))
                every = itertools.chain([stem], numbered)
                name = next(n for n in every if _key(n) not in used and not self._exists(n))
                if name != stem:
                    renamed.append(f"{path}: {name}")
            used.add(_key(name))
            names.append(name)
        if renamed:
            what = count_of(len(renamed), "video")
            notes.append(
                f"results of {what} get a number, as others of the same name are kept (first: "
                f"{renamed[0]})"
            )
        return names

    def video(self, path: Path) -> str:
        """Returns the video of records: its path as given, unless another video has the same."""
        own = str(path.resolve())
        others = (s["video"] for s in self._sources.values() if s["path"] != own)
        return own if str(path) in others else str(path)

    def add(self, name: str, path: Path, records: list[dict[str, Any]]) -> None:
        """Adds the result of a video whose files are written; replaces its earlier records.

        Raises:
            UserError: `videos.json` cannot be written.
        """
        if name in self._sources:
            self._records.pop(self._sources[name]["video"], None)
        video = self.video(path)
        self._sources[name] = {"video": video, "path": str(path.resolve())}
        self._records[video] = records
        text = json.dumps(self._sources, indent=1, ensure_ascii=False) + "\n"
        write_atomic(self._sources_file, text.encode(errors="backslashreplace"))  # as write_records

    def write_records(self) -> int:
        """Writes boxes.json with the records of all videos; returns their number.

        Raises:
            UserError: the file cannot be written.
        """
        records = [record for of_video in self._records.values() for record in of_video]
        write_records(self.records_file, records)
        return len(records)

    def _exists(self, name: str) -> bool:
        return any(os.path.lexists(self.folder / f"{name}{end}") for end in ENDS)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _read(path: Path, kind: Any) -> Any:
    """Contents of a file of localization; empty if there is none."""
    values: Any
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError, RecursionError):
        values = None
    if isinstance(values, kind):
        entries = values.values() if kind is dict else values
        needed = {"video", "path"} if kind is dict else {"video", "frame"}
        if all(isinstance(entry, dict) and needed <= entry.keys() for entry in entries):
            return values
    raise UserError(f"{path}: was not written by localize; move it away, or give another --out")
