"""Atomic writing of a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colocam.runtime.errors import UserError


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Context manager that writes a folder atomically.

    On exit without an exception, a hidden temporary folder is renamed to `folder`; otherwise it is
    removed. A killed process leaves the temporary folder behind; the next call raises an error that
    names it.

    Args:
        folder: the folder to write; it must be empty or not exist.

    Yields:
        The temporary folder, in the parent of `folder`.

    Raises:
        UserError: `folder` exists and is not empty, or it cannot be written.
    """
    folder = folder.resolve()
    unfinished = folder.parent / f".{folder.name}-unfinished"
    created = [parent for parent in folder.parents if not parent.exists()]
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
        path = error.filename or folder
        raise UserError(
            f"{path}: {error.strerror or error}; nothing was written to {folder}"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists():
            _remove_empty(created)


def _claim(unfinished: Path) -> None:
    """Creates the temporary folder; an error if it exists."""
    try:
        unfinished.mkdir()
    except FileExistsError:
        raise UserError(
            f"{unfinished}: left by an interrupted command, or in use by a running one; "
            "remove it if none is running"
        ) from None


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
