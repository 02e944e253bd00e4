"""Order of the files in a folder: natural, so that frame2 is before frame10."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

FileOrder = Literal["natural", "name"]
"""Order of names: "natural", where numbers are compared by their value, or "name", character by
character. The orders are the same where the numbers in names have as many digits."""

_NUMBER = re.compile("[0-9]+")


def in_order(names: Iterable[str], order: FileOrder = "natural") -> list[str]:
    """Sorts names of files or folders.

    Natural order differs from the order of the characters only where two names that are the same up
    to there have numbers of different length at the same place.

    Args:
        names: names, or paths whose parts are separated by "/".
        order: order of the names.
    """
    return sorted(names, key=natural_key) if order == "natural" else sorted(names)


def natural_key(name: str) -> tuple[str, str]:
    """Returns the sort key of a name in natural order; different names have different keys.

    A number is replaced by "0", its length without leading zeros, and these digits: compared with
    any other character it sorts as a digit, compared with a number by value.
    """
    return _NUMBER.sub(_by_value, name), name


def _by_value(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"
