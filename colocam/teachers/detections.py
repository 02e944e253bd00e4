"""Files of boxes: COCO annotations, COCO results, boxes.csv, and boxes.json of localization.

Format of COCO: https://cocodataset.org/#format-data and #format-results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colocam.data.layouts.box_units import check_units
from colocam.data.layouts.boxes_csv import read_boxes_csv
from colocam.data.records import Box
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of
from colocam.teachers.frame_names import normal_name

FORMATS = (
    "COCO annotations (images, annotations, categories), a list of COCO results with --images, "
    "boxes.csv, or boxes.json of localize"
)


@dataclass(frozen=True)
class Detection:
    """One box.

    Attributes:
        edges: left, upper, right and lower edge in pixels; a box of one pixel is one wide.
        score: at least 0; compared with those of the other boxes of a frame.
        category: name; None: the tag of the frame, whatever it is.
    """

    edges: Box
    score: float = 1.0
    category: str | None = None


@dataclass
class DetectedFrame:
    """Boxes of one frame.

    Attributes:
        size: (width, height) that the boxes refer to; None: that of the frame.
        detections: the boxes.
    """

    size: tuple[float, float] | None = None
    detections: list[Detection] = field(default_factory=list)


@dataclass(frozen=True)
class Detections:
    """Contents of a file of boxes.

    Attributes:
        path: the file.
        frames: by name, see `normal_name`.
        categories: names of all categories; empty if the file has none.
        notes: lines for the user.
    """

    path: Path
    frames: Mapping[str, DetectedFrame]
    categories: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_detections(path: Path, images: Path | None, data: Path) -> Detections:
    """Reads a file of boxes, of one of the `FORMATS`.

    Args:
        path: the file.
        images: COCO file with the images and categories of a list of results.
        data: data folder, which names of frames are relative to; paths into it are made relative.

    Raises:
        UserError: a file cannot be read or is of no known format, or an entry is invalid.
    """
    if images is not None and path.suffix.lower() == ".csv":
        raise UserError(f"--images {images}: belongs to a list of COCO results, not to {path}")
    if path.suffix.lower() == ".csv":
        return _of_csv(path)
    content = _load(path)
    is_records = isinstance(content, list) and _has(content, "video", "frame")
    is_results = isinstance(content, list) and _has(content, "image_id", "bbox")
    if images is not None and not is_results:
        raise UserError(f"--images {images}: belongs to a list of COCO results; {path} is none")
    if is_results and images is None:
        raise UserError(
            f"{path}: is a list of COCO results, which has no names of frames; give the file with "
            "their images and categories as --images FILE"
        )
    if is_records:
        found = _of_records(path, content, data.resolve())
    elif is_results and images is not None:
        found = _Coco(images, _load(images), path, content).read(data.resolve())
    elif isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
        found = _Coco(path, content, path, content["annotations"]).read(data.resolve())
    else:
        raise UserError(f"{path}: not a file of boxes; expected {FORMATS}")
    if not any(frame.detections for frame in found.frames.values()):
        raise UserError(f"{path}: has no box")
    return found


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())  # detects the encoding
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["nested too deep"])[0]
        raise UserError(f"{path}: not valid JSON ({reason}); expected {FORMATS}") from error


def _has(entries: list[Any], *names: str) -> bool:
    first = entries[0] if entries else None
    return isinstance(first, dict) and first.keys() >= {*names}


def _of_csv(path: Path) -> Detections:
    frames: dict[str, DetectedFrame] = {}
    notes: list[str] = []
    lines = read_boxes_csv(path)
    check_units(path, [line.box for line in lines], notes)
    for line in lines:
        frame = frames.setdefault(normal_name(f"{line.video}#{line.frame}"), DetectedFrame())
        frame.detections.append(Detection(_with_last_pixel(line.box)))
    if not frames:
        raise UserError(f"{path}: has no box")
    return Detections(path, frames, notes=tuple(notes))


def _of_records(path: Path, entries: list[Any], data: Path) -> Detections:
    """Records of localization: their box is of no class."""
    frames: dict[str, DetectedFrame] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number + 1}"
        video, index = _value(where, entry, "video", str), _value(where, entry, "frame", (int, str))
        sign = "/" if isinstance(index, str) else "#"
        name = f"{_relative(video, data)}{sign}{index}"
        frame = frames.setdefault(normal_name(name), DetectedFrame())
        if entry.get("box") is not None:
            x0, y0, x1, y1 = _four(where, "box", entry["box"])
            if x0 > x1 or y0 > y1:
                raise UserError(f"{where}: the corners of its box are swapped")
            frame.detections.append(
                Detection(_with_last_pixel((x0, y0, x1, y1)), _score(where, entry))
            )
    return Detections(path, frames)


def _with_last_pixel(box: Box) -> Box:
    """Edges of a box whose corners are pixels that belong to it."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 + 1, y1 + 1


@dataclass(frozen=True)
class _Coco:
    """Images and categories of one file, boxes of the same or of another."""

    images_path: Path
    content: Any
    boxes_path: Path
    boxes: Any

    def read(self, data: Path) -> Detections:
        categories = {
            key: _value(where, entry, "name", str)
            for key, where, entry in self._identified("categories")
        }
        frames: dict[str, DetectedFrame] = {}
        by_id: dict[int | str, DetectedFrame] = {}
        for key, where, entry in self._identified("images"):
            name = normal_name(_relative(_value(where, entry, "file_name", str), data))
            by_id[key] = frames.setdefault(name, DetectedFrame(_size(where, entry)))
        empty: list[str] = []
        for where, entry in self._entries(self.boxes_path, self.boxes, "annotations"):
            frame = by_id.get(_id(where, entry, "image_id"))
            category = categories.get(_id(where, entry, "category_id"))
            if frame is None or category is None:
                what = "image_id" if frame is None else "category_id"
                raise UserError(f"{where}: {what} {entry[what]!r} is not in {self.images_path}")
            x, y, width, height = _four(where, "bbox", entry.get("bbox"))
            if width <= 0 or height <= 0:
                empty.append(where)
                continue
            edges = (x, y, x + width, y + height)
            frame.detections.append(Detection(edges, _score(where, entry), category))
        notes = []
        if empty:
            notes.append(f"{count_of(len(empty), 'box')} without an area skipped ({empty[0]})")
        boxes = [one.edges for frame in frames.values() for one in frame.detections]
        check_units(self.boxes_path, boxes, notes)
        return Detections(self.boxes_path, frames, tuple(categories.values()), tuple(notes))

    def _identified(self, name: str) -> Iterator[tuple[int | str, str, dict[str, Any]]]:
        """Id, place for messages and entry of a list of entries with an id of their own."""
        known: set[int | str] = set()
        listed = self.content.get(name) if isinstance(self.content, dict) else None
        for where, entry in self._entries(self.images_path, listed, name):
            key = _id(where, entry, "id")
            if key in known:
                raise UserError(f"{where}: another entry has its id {key!r}, too")
            known.add(key)
            yield key, where, entry

    def _entries(self, path: Path, entries: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if not isinstance(entries, list):
            raise UserError(f"{path}: has no list of {name}; expected {FORMATS}")
        listed = "results" if entries is self.boxes and path != self.images_path else name
        for number, entry in enumerate(entries):
            where = f"{path}: {listed}[{number}]"
            if not isinstance(entry, dict):
                raise UserError(f"{where}: not an object with names and values")
            yield where, entry


def _relative(name: str, data: Path) -> str:
    """A path into the data folder relative to it; any other name unchanged."""
    try:
        path = Path(name).resolve()
        return path.relative_to(data).as_posix()
    except (OSError, RuntimeError, ValueError):  # not a path of this system, or elsewhere
        return name


def _value(where: str, entry: Any, name: str, kind: Any) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{where}: has no valid {name}")
    return value


def _id(where: str, entry: dict[str, Any], name: str) -> int | str:
    key: int | str = _value(where, entry, name, (int, str))
    return key


def _size(where: str, entry: dict[str, Any]) -> tuple[float, float] | None:
    """Width and height of an image; None if the file does not have both."""
    if entry.get("width") is None or entry.get("height") is None:
        return None
    width, height = (_number(where, name, entry[name]) for name in ("width", "height"))
    if width <= 0 or height <= 0:
        raise UserError(f"{where}: width and height must be above 0")
    return width, height


def _score(where: str, entry: dict[str, Any]) -> float:
    score = _number(where, "score", entry.get("score", 1.0))
    if score < 0:
        raise UserError(f"{where}: score {score:g} is negative; scores are 0 or above")
    return score


def _four(where: str, name: str, values: Any) -> Box:
    if not isinstance(values, list) or len(values) != 4:
        raise UserError(f"{where}: {name} must be a list of four numbers")
    first, second, third, fourth = (_number(where, name, value) for value in values)
    return first, second, third, fourth


def _number(where: str, name: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if abs(number) <= 1e9:  # false for NaN
            return number
    raise UserError(f"{where}: {name} has to be of numbers, not {str(value)[:40]!r}")
