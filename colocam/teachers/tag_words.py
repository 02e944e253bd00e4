"""Words of class tags: what a tag is called in prompts, and in the categories of a detector."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from colocam.runtime.errors import UserError


def plain_words(tag: str) -> str:
    """Returns a tag as words: "sports_car" → "sports car"."""
    return " ".join(tag.replace("_", " ").split()) or tag


def read_words(path: Path | None, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Reads the words of each tag.

    Args:
        path: UTF-8 table without a header, a line `tag,words` each, such as `aeroplane,airplane`;
            a tag on several lines has several words. None, and tags that are not listed: the tag,
            with underscores as spaces.
        classes: the tags.

    Returns:
        The words by tag, at least one each.

    Raises:
        UserError: the file cannot be read, or a line is not two columns or of no tag.
    """
    listed: dict[str, list[str]] = {tag: [] for tag in classes}
    for number, tag, words in [] if path is None else _lines(path):
        if tag not in listed:
            raise UserError(
                f"{path}, line {number}: no tag {tag!r} in the data; the tags are "
                f"{', '.join(classes)}"
            )
        listed[tag].append(words)
    return {tag: tuple(words) or (plain_words(tag),) for tag, words in listed.items()}


def _lines(path: Path) -> list[tuple[int, str, str]]:
    """Number, tag and words of each line."""
    lines = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                fields = [field.strip() for field in row]
                if not any(fields):
                    continue
                if len(fields) != 2 or not all(fields):
                    raise UserError(
                        f"{path}, line {reader.line_num}: expected tag,words; got "
                        f"{','.join(row)[:60]!r}"
                    )
                lines.append((reader.line_num, fields[0], fields[1]))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table; save it as UTF-8 CSV") from error
    return lines
