"""Checks of frame numbers and file names, shared by the frame sources."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from colocam.data.records import FrameSource
from colocam.runtime.errors import UserError


def check_indices(source: FrameSource, indices: Sequence[int]) -> None:
    """Raises IndexError if a frame number is outside 0 … len(source) − 1."""
    for index in indices:
        if not 0 <= index < len(source):
            raise IndexError(f"{source.name}: frame {index} of {len(source)}")


def check_name(path: str | Path, name: str) -> None:
    """Checks that a file name is text.

    Args:
        path: path of the file, for the message.
        name: the part of it that must be text.

    Raises:
        UserError: it is not UTF-8, or is not read as UTF-8 in this locale.
    """
    if not any("\ud800" <= letter <= "\udfff" for letter in name):  # surrogate escapes
        return
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8" and _is_utf8(name):
        raise UserError(
            f"{path}: its name cannot be read in this locale ({encoding}); set PYTHONUTF8=1, or a "
            "locale of UTF-8 such as LC_ALL=C.UTF-8"
        )
    raise UserError(f"{path}: its name is not UTF-8; rename it")


def _is_utf8(name: str) -> bool:
    try:
        os.fsencode(name).decode()
    except UnicodeError:
        return False
    return True
