"""JSON lines: one record per line, readable as soon as it is written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from colocam.runtime.console import write_output
from colocam.runtime.errors import WriteError

SUFFIX = ".jsonl"


class JsonLines(Protocol):
    """Where records are written."""

    @property
    def name(self) -> str:
        """For messages."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes a record, at once.

        Raises:
            WriteError: it cannot be written.
            BrokenPipeError: nobody reads standard output any more.
        """

    def close(self) -> None:
        """Closes the file."""


class LinesFile:
    """`JsonLines` in a new file: STEM.jsonl, or STEM-2.jsonl, STEM-3.jsonl, … if there is one.

    Results of a stream cannot be computed again: no file is replaced.

    Args:
        folder: of the file; made if necessary.
        stem: of its name.

    Raises:
        WriteError: it cannot be made.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file, self.path = _new_file(folder, stem)
        except OSError as error:
            path = folder / f"{stem}{SUFFIX}"
            raise WriteError(f"{path}: cannot be written ({error.strerror})") from error
        self._size = 0  # of whole lines, bytes

    @property
    def name(self) -> str:
        """See `JsonLines.name`."""
        return str(self.path)

    def write(self, record: Mapping[str, Any]) -> None:
        """See `JsonLines.write`; the file never ends within a line."""
        line = memoryview(_line_of(record))
        done = 0
        try:
            while done < len(line):
                done += self._file.write(line[done:])
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise WriteError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._size += done

    def close(self) -> None:
        """See `JsonLines.close`."""
        self._file.close()


class LinesOutput:
    """`JsonLines` on standard output."""

    name = "standard output"

    def write(self, record: Mapping[str, Any]) -> None:
        """See `JsonLines.write`."""
        try:
            write_output(_line_of(record))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WriteError(f"{self.name}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Leaves standard output open."""


def _new_file(folder: Path, stem: str) -> tuple[FileIO, Path]:
    for number in itertools.count(1):
        path = folder / (f"{stem}{SUFFIX}" if number == 1 else f"{stem}-{number}{SUFFIX}")
        with suppress(FileExistsError):
            return FileIO(path, "x"), path
    raise AssertionError("there is always a next number")


def _line_of(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")  # as `write_records`
