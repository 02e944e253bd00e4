"""Checks of frame numbers and file names, shared by the frame sources."""

from __future__ import annotations

from collections.abc import Sequence

from colocam.data.records import FrameSource


def check_indices(source: FrameSource, indices: Sequence[int]) -> None:
    """Raises IndexError if a frame number is outside 0 … len(source) − 1."""
    for index in indices:
        if not 0 <= index < len(source):
            raise IndexError(f"{source.name}: frame {index} of {len(source)}")


def is_unicode(name: str) -> bool:
    """Returns whether a file name is valid Unicode, and not bytes of another encoding."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)  # surrogate escapes
