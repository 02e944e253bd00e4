"""Teacher of boxes: maps from the boxes of a detector, of another localizer, or drawn by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.records import Box, BoxedFrame
from colocam.data.shots.shots import position_in_video
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of
from colocam.teachers.detections import DetectedFrame, Detection, Detections
from colocam.teachers.frame_names import FrameNames
from colocam.teachers.storing import MapBatch
from colocam.teachers.tag_words import plain_words

SIDE = 112  # of a map, cells
_BATCH = 64  # frames
_EDGE = 0.5  # width of the falling edge on each side of the box, in half widths of the box


class BoxTeacher:
    """Maps of boxes: high inside a box, falling smoothly to 0 around it, by score.

    A frame with a box of its tag has the maximum over these boxes of score · f(u) f(v), where u
    and v are the distances from the centre of the box in half widths and half heights, and f falls
    from 1 at 0.5 over 0.5 at the edge (1) to 0 at 1.5. The values above half of a box's score span
    exactly the box; its corners, seldom object, are lower. A frame without a box of its tag has a
    map of zeros: no seeds, while the other loss terms act on it.

    Args:
        detections: the boxes.
        classes: tags, in the order of the labels.
        words: other names of the tags in the file's categories, see `read_words`.
        records: frames whose maps will be computed.
        frame_names: names of frames in the file.

    Attributes:
        notes: lines for the user: categories and frames that are not used, frames without a box.

    Raises:
        UserError: no category is a tag, no frame of the file is one of `records`, or none of them
            has a box of its tag.
    """

    def __init__(
        self,
        detections: Detections,
        classes: Sequence[str],
        words: Mapping[str, tuple[str, ...]],
        records: Sequence[BoxedFrame],
        frame_names: FrameNames | None = None,
    ) -> None:
        self._detections = detections
        self._frame_names = frame_names or FrameNames()
        self._words = {tag: [*words[tag]] for tag in classes}
        self._names = [{_key(tag), *map(_key, words[tag])} for tag in classes]
        self.notes = [*detections.notes]
        self._check_categories(classes)
        self._check_frames(records)

    def settings(self) -> Mapping[str, Any]:
        """See `Teacher.settings`."""
        boxes = repr(sorted(self._detections.frames.items(), key=lambda item: item[0]))
        digest = hashlib.sha256(boxes.encode(errors="backslashreplace")).hexdigest()
        return {"teacher": "boxes", "boxes": digest, "words": self._words}

    def batches(self, records: Sequence[BoxedFrame]) -> Iterator[MapBatch]:
        """See `Teacher.batches`."""
        for start in range(0, len(records), _BATCH):
            of_batch = records[start : start + _BATCH]
            maps = [(record, self._map(record)) for record in of_batch]
            yield MapBatch(
                [record for record, values in maps if values is not None],
                [values for _, values in maps if values is not None],
                [record.id for record, values in maps if values is None],
            )

    def _map(self, record: BoxedFrame) -> NDArray[np.float32] | None:
        """Map of a frame; None if its size is needed and it cannot be decoded."""
        frame = self._frame(record)
        own = [] if frame is None else self._of_tag(frame, record.label)
        size = None if frame is None else frame.size
        if own and size is None:
            size = _size(record)
            if size is None:
                return None
        return box_map([(one.edges, one.score) for one in own], size or (1, 1))

    def _frame(self, record: BoxedFrame) -> DetectedFrame | None:
        """The file's entry for a frame; None if it has none."""
        frames = self._detections.frames
        return next((frames[name] for name in self._frame_names.of(record) if name in frames), None)

    def _of_tag(self, frame: DetectedFrame, label: int) -> list[Detection]:
        names = self._names[label]
        return [
            one for one in frame.detections if one.category is None or _key(one.category) in names
        ]

    def _check_categories(self, classes: Sequence[str]) -> None:
        categories = self._detections.categories
        if not categories:
            return
        known = {_key(category) for category in categories}
        foreign = [one for one in categories if not any(_key(one) in n for n in self._names)]
        absent = [tag for tag, names in zip(classes, self._names, strict=True) if not names & known]
        path = self._detections.path
        if len(foreign) == len(categories):
            raise UserError(
                f"{path}: no category is a tag of the data: it has {_listed(categories)}, the tags "
                f"are {_listed(classes)}; --names FILE maps tags to other names"
            )
        if foreign:
            what = f"{len(foreign)} of {len(categories)} categories"
            self.notes.append(f"{path}: {what} no tag of the data, not used (first: {foreign[0]})")
        if absent:
            self.notes.append(
                f"{path}: no category for {len(absent)} of {count_of(len(classes), 'tag')} (first: "
                f"{absent[0]}): their frames get empty maps; --names FILE maps tags to other names"
            )

    def _check_frames(self, records: Sequence[BoxedFrame]) -> None:
        frames, path = self._detections.frames, self._detections.path
        matched: set[str] = set()
        without = []
        for record in records:
            matched.update(name for name in self._frame_names.of(record) if name in frames)
            frame = self._frame(record)
            if frame is None or not self._of_tag(frame, record.label):
                without.append(record.id)
        total = count_of(len(frames), "frame")
        if not matched:
            raise UserError(
                f"{path}: none of its {total} is one of the data: it has {next(iter(frames))}, the "
                f"data {' or '.join(self._frame_names.of(records[0]))}"
            )
        if len(without) == len(records):
            raise UserError(
                f"{path}: no frame of the data has a box of its tag (first: {without[0]}); are the "
                "tags and categories the same?"
            )
        if len(matched) < len(frames):
            other = next(name for name in frames if name not in matched)
            what = f"{len(frames) - len(matched)} of {total}"
            self.notes.append(f"{path}: {what} not of this split, not used (first: {other})")
        if without:
            self.notes.append(
                f"{path}: no box of their tag for {len(without)} of "
                f"{count_of(len(records), 'frame')}, which get empty maps (first: {without[0]})"
            )


def box_map(
    boxes: Sequence[tuple[Box, float]], size: tuple[float, float], side: int = SIDE
) -> NDArray[np.float32]:
    """Map of the boxes of a frame, see `BoxTeacher`.

    Args:
        boxes: edges (left, upper, right, lower) in pixels, and score of each.
        size: (width, height) of the frame, pixels.
        side: of the map, cells.

    Returns:
        (side, side) in [0, 1], divided by the largest score; zeros without boxes.
    """
    result = np.zeros((side, side), np.float32)
    highest = max((score for _, score in boxes), default=0.0)
    for (x0, y0, x1, y1), score in boxes:
        across = _profile(x0 / size[0] * side, x1 / size[0] * side, side)
        down = _profile(y0 / size[1] * side, y1 / size[1] * side, side)
        if score > 0:
            np.maximum(result, score / highest * np.outer(down, across), out=result)
    return result


def _profile(low: float, high: float, side: int) -> NDArray[np.float64]:
    """f along one axis: (side,), for a box from `low` to `high` in cells."""
    half = max((high - low) / 2, 0.5)  # no box is lost between two cells
    distance = np.abs(np.arange(side) + 0.5 - (low + high) / 2) / half
    falling = np.clip((distance - 1 + _EDGE) / (2 * _EDGE), 0, 1)
    return (1 + np.cos(np.pi * falling)) / 2


def _size(record: BoxedFrame) -> tuple[float, float] | None:
    """(width, height) of a frame; None if it cannot be decoded."""
    video, index = position_in_video(record.frames, record.index)
    assert isinstance(video, ImageFrames | VideoFrames)
    return video.frame_size(index)


def _key(name: str) -> str:
    """Name of a category without case and underscores."""
    return plain_words(name).casefold()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
