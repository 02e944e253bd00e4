"""A folder that appears under its name whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colocam.runtime.errors import UserError


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder` to build in, renamed to it where all went well.

    Where anything fails, nothing is left behind; a killed process leaves the hidden folder, which
    the next one names.

    Raises:
        UserError: `folder` exists and is not empty, or it cannot be written.
    """
    folder = folder.resolve()
    unfinished = folder.parent / f".{folder.name}-unfinished"
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder}: exists already; give a new or an empty folder")
        if os.path.ismount(folder):
            raise UserError(f"{folder}: a file system is mounted there; give a folder inside it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        _claim(unfinished)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    try:
        yield unfinished
        with suppress(FileNotFoundError):
            folder.rmdir()
        os.rename(unfinished, folder)
    except OSError as error:
        place = error.filename or folder
        raise UserError(
            f"{place}: {error.strerror or error}; nothing was written to {folder}"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists():
            _remove_empty(made)


def _claim(unfinished: Path) -> None:
    try:
        unfinished.mkdir()
    except FileExistsError:
        raise UserError(
            f"{unfinished}: left by an interrupted command, or one is at work there; "
            "remove it where none is"
        ) from None


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
