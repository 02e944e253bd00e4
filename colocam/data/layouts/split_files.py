"""Split files: training shots, validation and test frames, with class labels and boxes.

Each split is a folder with `image_ids.txt` (one id per line), `class_labels.txt` (id,label),
`image_sizes.txt` (id,width,height) and `localization.txt` (id,x0,y0,x1,y1, one box per line). The
parent folder contains `class_id.yaml`, a flat mapping from class name to label. The format is that
of the WSOL evaluation (Choe et al. 2020), as used by TCAM and CoLo-CAM.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from colocam.data.records import Box
from colocam.runtime.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class SplitRecord:
    """A shot (train) or a frame (val, test).

    Attributes:
        id: path of the shot's folder or the frame's file, relative to the data folder.
        label: index of the class.
        size: (width, height) of the frame in pixels, or None.
        boxes: boxes of the frame, as written in `localization.txt`.
    """

    id: str
    label: int
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]


def read_split(folder: str | Path, repeated: list[str] | None = None) -> list[SplitRecord]:
    """Reads one split.

    Lines that repeat an id, or its label or size with the same value, are skipped; all boxes are
    kept.

    Args:
        folder: folder of the split.
        repeated: receives file and line number of each skipped line.

    Returns:
        The records in the order of `image_ids.txt`, with the boxes as written.

    Raises:
        UserError: a file is missing, a line has a wrong number of columns, a value is not a number,
            or an id has two labels or sizes, has no label, or is not in `image_ids.txt`. The
            message names file and line.
    """
    folder = Path(folder)
    repeated = [] if repeated is None else repeated
    ids: dict[str, str] = {}  # in file order
    labels: dict[str, int] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for where, name in _lines(folder / "image_ids.txt"):
        _put(ids, name, name, where, repeated)
    boxes: dict[str, list[Box]] = {name: [] for name in ids}
    for where, name, (label,) in _rows(folder / "class_labels.txt", "id,label", boxes):
        _put(labels, name, _whole_number(where, label, at_least=0), where, repeated)
    for where, name, (width, height) in _rows(folder / "image_sizes.txt", "id,width,height", boxes):
        size = (_whole_number(where, width, 1), _whole_number(where, height, 1))
        _put(sizes, name, size, where, repeated)
    for where, name, (x0, y0, x1, y1) in _rows(
        folder / "localization.txt", "id,x0,y0,x1,y1", boxes
    ):
        boxes[name].append(
            (_number(where, x0), _number(where, y0), _number(where, x1), _number(where, y1))
        )
    for name in ids:
        if name not in labels:
            raise UserError(f"{folder / 'class_labels.txt'}: no line for the id {name!r}")
    return [SplitRecord(name, labels[name], sizes.get(name), tuple(boxes[name])) for name in ids]


def write_split(folder: str | Path, records: Iterable[SplitRecord]) -> None:
    """Writes one split; `read_split` returns the same records.

    Args:
        folder: folder of the split, created if missing.
        records: shots or frames of the split.

    Raises:
        ValueError: an id is blank or contains a line break.
    """
    records = list(records)
    for record in records:
        if not record.id.strip() or "\n" in record.id or "\r" in record.id:
            raise ValueError(f"id {record.id!r} is blank or contains a line break")
    files = {
        "image_ids.txt": [record.id for record in records],
        "class_labels.txt": [f"{record.id},{record.label}" for record in records],
        "image_sizes.txt": [
            f"{record.id},{record.size[0]},{record.size[1]}" for record in records if record.size
        ],
        "localization.txt": [
            ",".join([record.id, *(repr(float(value)) for value in box)])
            for record in records
            for box in record.boxes
        ],
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        text = "".join(f"{line}\n" for line in lines)
        # Reading strips one byte order mark; an id that starts with one needs a second.
        encoding = "utf-8-sig" if text.startswith("\ufeff") else "utf-8"
        (folder / name).write_text(text, encoding=encoding, newline="\n")


# One entry of a flat YAML mapping with its separator: a quoted or plain name, a colon, a label.
_ENTRY = r"""\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^']|'')*)'|(?P<plain>%s))
             \s*:\s+(?P<label>\d{1,9})[ \t]*(?:,|(?:\#.*)?$)"""
_IN_BRACES = re.compile(_ENTRY % r"""(?!-\s)[^\s,{}"'#](?:[^,{}:]|:(?!\s))*?""", re.VERBOSE)
_ON_LINES = re.compile(
    _ENTRY % r"""(?!-\s)[^\s{"'#](?:[^:\n]|:(?!\s))*?""", re.VERBOSE | re.MULTILINE
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U(00(?:0[0-9a-f]|10)[0-9a-f]{4})|(.))", re.DOTALL | re.I
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "_": "\xa0"}


def read_class_ids(file: str | Path) -> dict[str, int]:
    """Reads `class_id.yaml`: a flat mapping from class name to label, a small subset of YAML.

    Entries are in braces, possibly over several lines, or one per line; names are plain or quoted.

    Args:
        file: the file.

    Returns:
        Labels by class name, in file order.

    Raises:
        UserError: the file is missing or empty, an entry is not `name: label`, a name is repeated,
            or the labels are not 0 ... number of classes − 1, once each.
    """
    file = Path(file)
    text = re.sub(r"(?m)^(?:\s*#.*|---.*|\.\.\.)$", "", _text(file)).strip()
    pattern = _ON_LINES
    if text.startswith("{") and text.endswith("}"):
        # YAML reads a line break within a name as a blank.
        text, pattern = re.sub(r"\s*\n\s*", " ", text[1:-1]), _IN_BRACES
    entries = [(_name_of(entry), int(entry["label"])) for entry in pattern.finditer(text)]
    rest = pattern.sub("", text).strip(" \t\n,")
    if rest or not entries:
        raise UserError(f"{file}: each entry must read `name: label`, not {rest[:40]!r}")
    classes = dict(entries)
    if len(classes) < len(entries):
        raise UserError(f"{file}: a class is listed twice")
    if sorted(classes.values()) != list(range(len(classes))):
        raise UserError(f"{file}: the labels must run from 0 to {len(classes) - 1}, once each")
    return classes


def write_class_ids(file: str | Path, names: Sequence[str]) -> None:
    """Writes `class_id.yaml`.

    Args:
        file: the file.
        names: class names in the order of their labels, 0 first.
    """
    lines = [
        f"{json.dumps(name, ensure_ascii=False)}: {label}\n" for label, name in enumerate(names)
    ]
    Path(file).write_text("".join(lines), encoding="utf-8", newline="\n")


def _name_of(entry: re.Match[str]) -> str:
    if entry["double"] is not None:
        return _ESCAPE.sub(_unescape, entry["double"])
    if entry["single"] is not None:
        return entry["single"].replace("''", "'")
    return entry["plain"]


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    return chr(int(code, 16)) if code else _ESCAPED.get(match[4], match[4])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors may write a byte order mark
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text; save it as UTF-8") from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, line) of each line that is not blank; `where` names file and line number."""
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def _rows(path: Path, columns: str, ids: Container[str]) -> Iterator[tuple[str, str, list[str]]]:
    """(where, id, values) of each line; ids may contain commas, values do not."""
    num_values = columns.count(",")
    for where, line in _lines(path):
        name, *values = line.rsplit(",", num_values)
        if len(values) != num_values:
            raise UserError(f"{where}: expected {columns}, not {line!r}")
        if name not in ids:
            raise UserError(f"{where}: the id {name!r} is not in image_ids.txt")
        yield where, name, values


def _put(values: dict[str, T], name: str, value: T, where: str, repeated: list[str]) -> None:
    """Stores the value of an id; a line that repeats it is added to `repeated`."""
    if name not in values:
        values[name] = value
    elif values[name] == value:
        repeated.append(where)
    else:
        raise UserError(f"{where}: the id {name!r} is listed before with another value; remove one")


def _whole_number(where: str, text: str, at_least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = at_least - 1
    if number < at_least:
        raise UserError(f"{where}: {text!r} is not a whole number of at least {at_least}")
    return number


def _number(where: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: {text!r} is not a number")
    return number
