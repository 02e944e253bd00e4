"""Plain folder layout: DIR/<class>/<video>, with an optional DIR/boxes.csv.

A video is a file that FFmpeg reads or a folder of frames.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from colocam.data.decoding.checks import check_name
from colocam.data.decoding.images import ImageFrames, is_image
from colocam.data.decoding.open import open_video
from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.decoding.video_file import VideoFrames, is_video_file
from colocam.data.file_order import FileOrder, in_order
from colocam.data.layouts.box_units import check_units
from colocam.data.layouts.boxes_csv import BoxLine, read_boxes_csv
from colocam.data.not_data import NotData, holds_only_outputs, is_output, is_system_name
from colocam.data.records import Box, clamp_box, is_outside
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of, skipped_line


@dataclass(frozen=True)
class Video:
    """One video of the folder.

    Attributes:
        name: path relative to the data folder.
        label: index of the class.
        frames: frames of the video.
        boxes: boxes by frame number.
        clamped: number of boxes that were clamped to the image.
    """

    name: str
    label: int
    frames: ImageFrames | VideoFrames
    boxes: dict[int, tuple[Box, ...]]
    clamped: int


def open_class_folders(
    data: Path,
    notes: list[str],
    probe_cache: ProbeCache | None = None,
    order: FileOrder = "natural",
) -> dict[str, list[Video]]:
    """Opens all videos of the folder.

    Args:
        data: the data folder.
        notes: receives lines for the user: entries that are no data or ignored; skipped videos,
            frames and boxes; clamped boxes.
        probe_cache: probe cache of video files (see `open_video`); None: every file is probed.
        order: order of classes, videos and frames.

    Returns:
        The videos of each class, classes and videos in the order of their names. The label of a
        class is its index in this order.

    Raises:
        UserError: the folder has no classes, a class has no usable video, or boxes.csv is invalid.
    """
    names = _list_names(data, notes, order)
    all_names = [video for of_class in names.values() for video in of_class]
    lines = _read_box_lines(data / "boxes.csv", all_names, notes)
    opened = _open_videos(data, names, notes, probe_cache, order)
    _note_reordered([source for video, source in opened.items() if lines[video]], notes)
    videos = {
        name: [
            _with_boxes(data, video, label, opened[video], lines[video], notes)
            for video in names[name]
            if video in opened
        ]
        for label, name in enumerate(names)
    }
    unused = sum(len(lines[video]) for video in all_names if video not in opened)
    if unused:
        notes.append(f"boxes.csv: {count_of(unused, 'box')} of skipped videos not used")
    clamped = sum(video.clamped for of in videos.values() for video in of)
    if clamped:
        notes.append(f"boxes.csv: {count_of(clamped, 'box')} exceeding the image clamped to it")
    return videos


def _list_names(data: Path, notes: list[str], order: FileOrder) -> dict[str, list[str]]:
    """Names of the videos of each class; folders that hold only outputs of colocam are skipped."""
    not_data = NotData()
    names = {
        name: in_order(_list_videos(data, name, not_data, notes), order)
        for name in in_order(_list_classes(data, not_data), order)
    }
    names = {name: videos for name, videos in names.items() if videos}
    notes += not_data.notes()
    if not names:
        raise UserError(
            f"{data}: holds no class folder but outputs of colocam; videos belong in "
            f"{data}/<class>/<video>"
        )
    return names


def _list_classes(data: Path, not_data: NotData) -> list[str]:
    names = [entry.name for entry in _entries(data, not_data, "") if entry.is_dir()]
    if not names:
        raise UserError(f"{data}: holds no class folder; videos belong in {data}/<class>/<video>")
    for name in names:
        check_name(data / name, name)
    return names


def _list_videos(data: Path, class_name: str, not_data: NotData, notes: list[str]) -> list[str]:
    videos, ignored, images = [], [], 0
    for entry in _entries(data / class_name, not_data, f"{class_name}/"):
        if is_output(Path(entry.path)):
            not_data.outputs.append(f"{class_name}/{entry.name}")
        elif _is_video(entry):
            videos.append(f"{class_name}/{entry.name}")
        else:
            ignored.append(entry.name)
            images += entry.is_file() and is_image(entry.name)
    folder = data / class_name
    if not videos and (is_output(folder) or (not images and holds_only_outputs(folder))):
        not_data.outputs = [n for n in not_data.outputs if not n.startswith(f"{class_name}/")]
        not_data.outputs.append(class_name)
        return []
    if not videos:
        hint = (
            "put its images in one folder per video"
            if images
            else "add a video file or a folder of frames, or remove the class"
        )
        raise UserError(f"{folder}: a class folder without a video; {hint}")
    if ignored:
        what = count_of(len(ignored), "item")
        notes.append(f"{class_name}: {what} ignored as not a video (first: {min(ignored)})")
    return videos


def _entries(folder: Path, not_data: NotData, prefix: str) -> list[os.DirEntry[str]]:
    """Visible entries of a folder; those of systems are added to `not_data`, after a prefix."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from error
    not_data.system += [f"{prefix}{entry.name}" for entry in entries if is_system_name(entry.name)]
    return [e for e in entries if not is_system_name(e.name) and not e.name.startswith(".")]


def _is_video(entry: os.DirEntry[str]) -> bool:
    if entry.is_dir():
        try:
            with os.scandir(entry.path) as inner:
                return any(is_image(file.name) for file in inner)
        except OSError:
            return True  # opening the video reports the error
    return is_video_file(entry.name)


def _read_box_lines(
    path: Path, videos: list[str], notes: list[str]
) -> defaultdict[str, list[BoxLine]]:
    """Lines of boxes.csv by video; empty if there is no such file."""
    # File system and table may use different Unicode forms of an accented name.
    by_name = {unicodedata.normalize("NFC", video): video for video in videos}
    lines: defaultdict[str, list[BoxLine]] = defaultdict(list)
    if not path.exists():
        return lines
    seen: set[tuple[str, int, Box]] = set()
    repeated: list[int] = []
    table = read_boxes_csv(path)
    check_units(path, [line.box for line in table], notes)
    for line in table:
        video = by_name.get(unicodedata.normalize("NFC", line.video))
        if video is None:
            raise UserError(
                f"{path}, line {line.line}: no video {line.video!r} in the folder; "
                "write it as <class>/<video>, with its extension"
            )
        if (box := (video, line.frame, line.box)) in seen:
            repeated.append(line.line)
        else:
            seen.add(box)
            lines[video].append(line)
    if repeated:
        what = count_of(len(repeated), "repeated line")
        notes.append(f"boxes.csv: {what} skipped (first: line {repeated[0]})")
    return lines


def _open_videos(
    data: Path,
    names: dict[str, list[str]],
    notes: list[str],
    probe_cache: ProbeCache | None,
    order: FileOrder,
) -> dict[str, ImageFrames | VideoFrames]:
    """Opens the videos of all classes, by name; unusable ones are skipped and counted."""
    opened: dict[str, ImageFrames | VideoFrames] = {}
    unusable: dict[str, UserError] = {}
    for class_name, of_class in names.items():
        for video in of_class:
            try:
                opened[video] = open_video(data / video, video, notes, probe_cache, order)
            except UserError as error:
                unusable[video] = error
        if all(video in unusable for video in of_class):
            first = unusable[of_class[0]]
            raise UserError(f"{data / class_name}: no video of this class can be used; {first}")
    if unusable:
        errors = [str(error) for error in unusable.values()]
        notes.append(skipped_line(errors, len(opened) + len(errors), "video", "unusable"))
    return opened


def _note_reordered(boxed: list[ImageFrames | VideoFrames], notes: list[str]) -> None:
    """Adds a note on folders of frames in which boxes.csv counts otherwise than by characters."""
    names = [
        source.name
        for source in boxed
        if isinstance(source, ImageFrames) and list(source.paths) != sorted(source.paths)
    ]
    if names:
        notes.append(
            f"boxes.csv: frames of {count_of(len(names), 'folder')} are counted in natural order, "
            f"frame2 before frame10 (first: {names[0]}); --file-order name counts by characters"
        )


def _with_boxes(
    data: Path,
    name: str,
    label: int,
    frames: ImageFrames | VideoFrames,
    lines: list[BoxLine],
    notes: list[str],
) -> Video:
    """The video with its boxes; boxes of frames that cannot be decoded are skipped."""
    by_frame = _lines_by_frame(data, name, frames, lines, notes)
    boxes, bad = {}, []
    for index in sorted(by_frame):
        size = frames.frame_size(index)
        if size is None:
            bad.append(index)
        else:
            boxes[index] = tuple(_clamp(data, line, size) for line in by_frame[index])
    if bad:
        what = count_of(len(bad), "frame")
        notes.append(f"{name}: {what} with boxes cannot be decoded, skipped (first: {bad[0]})")
    pairs = [
        (line.box, box) for i in boxes for line, box in zip(by_frame[i], boxes[i], strict=True)
    ]
    return Video(name, label, frames, boxes, clamped=sum(old != new for old, new in pairs))


def _lines_by_frame(
    data: Path,
    name: str,
    frames: ImageFrames | VideoFrames,
    lines: list[BoxLine],
    notes: list[str],
) -> dict[int, list[BoxLine]]:
    """Lines by frame number; those of frames lost to truncation are skipped and counted."""
    by_frame: defaultdict[int, list[BoxLine]] = defaultdict(list)
    promised = frames.reported_frames if isinstance(frames, VideoFrames) else 0
    lost = []
    for line in lines:
        if 0 <= line.frame < len(frames):
            by_frame[line.frame].append(line)
        elif 0 <= line.frame < promised:
            lost.append(line.frame)
        else:
            raise UserError(
                f"{data / 'boxes.csv'}, line {line.line}: frame {line.frame} of {name}, which has "
                f"{count_of(len(frames), 'frame')}, counted from 0"
            )
    if lost:
        what = f"{count_of(len(lost), 'box')} of frames that do not decode"
        notes.append(f"{name}: {what} skipped (first: frame {min(lost)})")
    return by_frame


def _clamp(data: Path, line: BoxLine, size: tuple[int, int]) -> Box:
    right, bottom = size[0] - 1, size[1] - 1  # corners are pixels, the last ones included
    if is_outside(line.box, right, bottom):
        raise UserError(
            f"{data / 'boxes.csv'}, line {line.line}: the box is outside the image, which is "
            f"{size[0]} pixels wide and {size[1]} high"
        )
    return clamp_box(line.box, right, bottom)
