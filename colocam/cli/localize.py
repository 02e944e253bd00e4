"""Command colocam.localize: overlay video and CSV file per video, and boxes.json for all."""

import argparse
import csv
import errno
import io
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import TimeRemainingColumn

from colocam.cli.box_options import add_boxes, check_boxes, min_area
from colocam.cli.frame_record import Numbers, frame_record, without_box_if_empty
from colocam.cli.localize_stream import (
    add_stream_options,
    localize_stream,
    stream_console,
    stream_of,
)
from colocam.cli.video_report import add_report, make_report
from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.open import open_video
from colocam.data.decoding.timestamps import TimedFrame, first_size, mean_rate
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.not_data import CSV_COLUMNS, TRACK_COLUMN
from colocam.localization.inference import Localization, VideoLocalizer
from colocam.localization.input_videos import find_videos
from colocam.localization.overlay import draw_missing, draw_result
from colocam.localization.result_folder import ENDS, ResultFolder
from colocam.localization.tracks import Tracks
from colocam.localization.video_writer import has_h264, mp4_file
from colocam.localization.whole_video import localized_frames
from colocam.postprocessing.settings import add_options, read_options
from colocam.runtime.console import make_console, progress_bar, text_column
from colocam.runtime.entry import CommandParser, exit_status, program_name
from colocam.runtime.errors import UserError, WriteError
from colocam.runtime.files import check_folder, write_atomic
from colocam.runtime.messages import count_of, skipped_line

_LEAST_SPACE = 2**20  # bytes; with less, a disk is full
_Draw = Callable[[TimedFrame, Localization | None, Numbers], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        argv: arguments without the program name; None: those of the process.
    """
    return exit_status(lambda: _localize_all(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("python -m colocam.localize"),
        usage="%(prog)s VIDEO... --ckpt FILE [--out DIR] [options]",
        description="Localizes an object, or all, in each frame of videos. Writes, for each video, "
        "an overlay video and a CSV file with one line per frame or box, and boxes.json for all "
        "videos. Of a stream, writes a line of JSON per frame as it comes.",
    )
    add = parser.add_argument
    add(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video file, folder of frames, or folder of videos (DIR/<video> or "
        "DIR/<class>/<video>); or one stream: the number of a camera, an address such as "
        "rtsp://HOST/PATH, or - for raw frames on standard input",
    )
    add("--ckpt", type=Path, required=True, metavar="FILE", help="checkpoint of a localizer")
    add(
        "--out",
        type=Path,
        default=Path("localized"),
        metavar="DIR",
        help="output folder; of a stream - is standard output",
    )
    _add_boxes(parser.add_argument_group("boxes"))
    _add_output(parser.add_argument_group("output"))
    add_stream_options(parser.add_argument_group("streams"))
    runtime = parser.add_argument_group("runtime").add_argument
    runtime("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device")
    runtime(
        "--amp",
        choices=("auto", "off", "bf16", "fp16"),
        default="auto",
        help="mixed precision; auto: bf16 if it is fast here, otherwise fp16 on a GPU",
    )
    runtime(
        "--decoder",
        choices=("cpu", "gpu"),
        default="cpu",
        help="what decodes video files; gpu: the video decoder of an NVIDIA GPU",
    )
    runtime(
        "--batch-size",
        type=int,
        metavar="N",
        help="frames per forward pass, at most (default: 16 on a GPU, 4 on a CPU; 1 of a live "
        "stream)",
    )
    runtime(
        "--cpu-threads", type=int, metavar="N", help="number of CPU threads (default: all cores)"
    )
    return parser


def _add_output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--overlay",
        choices=("on", "off"),
        help="write overlay videos (default: on; there is none of a stream)",
    )
    add("--heat", choices=("on", "off"), default="off", help="show the score map in the overlay")
    add_report(group)


def _add_boxes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add_boxes(group, "joined to tracks along the video")
    add(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="report the probability of this class; the box does not depend on the class "
        "(default: the most probable class of each frame)",
    )
    add_options(add, "score maps and class probabilities")
    add(
        "--empty-over",
        type=float,
        metavar="X",
        help="emptiness score, 0 to 1, above which a frame is reported without a box; the score is "
        "1 - the maximum of the score map and is added to boxes.json (default: off)",
    )


def _check(options: argparse.Namespace) -> None:
    for flag, value in (
        ("--batch-size", options.batch_size),
        ("--cpu-threads", options.cpu_threads),
    ):
        if value is not None and value < 1:
            raise UserError(f"{flag} {value}: must be at least 1")
    read_options(options)
    check_boxes(options)
    if options.empty_over is not None and not 0 <= options.empty_over <= 1:
        raise UserError(f"--empty-over {options.empty_over}: must be in [0, 1]")


def _localize_all(options: argparse.Namespace) -> int:
    _check(options)
    stream = stream_of(options)
    if options.cpu_threads is not None:
        torch.set_num_threads(options.cpu_threads)
        cv2.setNumThreads(options.cpu_threads)
    console = make_console(soft_wrap=True) if stream is None else stream_console(options)
    localizer = VideoLocalizer(options.ckpt, options.device, options.amp)
    label = _label(options, localizer.classes)
    if stream is not None:
        return localize_stream(stream, options, localizer, label, console)
    options.overlay = options.overlay or "on"
    command = _Command(options, localizer, label, console)
    check_folder(options.out, "--out ")
    results = ResultFolder(options.out)
    notes: list[str] = []
    videos = find_videos([Path(video) for video in options.videos], options.out, notes)
    if options.overlay == "on" and not has_h264():
        notes.append("overlays are VP9, slow to encode, as this PyAV has no encoder of H.264")
    failed: list[str] = []
    unwritten: list[str] = []
    for path, name in zip(videos, results.names(videos, notes), strict=True):
        try:
            source = open_video(path, str(path), notes)
        except UserError as error:
            failed.append(str(error))
            continue
        finally:
            command.show_notes(notes)
        if options.decoder == "gpu" and isinstance(source, VideoFrames):
            source = source.decoded_by_gpu(notes)
            command.show_notes(notes)
        try:
            records = command.localize(results.video(path), path, source, name)
        except WriteError as error:
            if _is_full(error, options.out):
                raise
            unwritten.append(str(error))
            continue
        results.add(name, path, records)
    if len(failed) == len(videos):
        others = f" (none of {count_of(len(videos), 'video')} can be used)"
        raise UserError(failed[0] + (others if len(videos) > 1 else ""))
    if failed:
        command.warn(skipped_line(failed, len(videos), "video", "unreadable"))
    command.print(f"{results.records_file}: {count_of(results.write_records(), 'frame')}")
    if unwritten:
        fewer = ["--overlay off"] * (options.overlay == "on") + ["no --report"] * options.report
        hint = f"; {' and '.join(fewer)} writes boxes only" if fewer else ""
        line = skipped_line(unwritten, len(videos), "video", "without a result")
        raise UserError(line + hint)
    return 0


def _label(options: argparse.Namespace, classes: Sequence[str]) -> int | None:
    """Index of --class; None: the most probable class of each frame."""
    name = options.class_name
    if name is not None and name not in classes:
        raise UserError(f"--class {name}: {options.ckpt} has {', '.join(classes)}")
    return None if name is None else classes.index(name)


def _is_full(error: WriteError, folder: Path) -> bool:
    """Whether an output could not be written for want of space, which the next one has not."""
    number = getattr(error.__cause__, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return True
    return folder.exists() and shutil.disk_usage(folder).free < _LEAST_SPACE


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be created ({error.strerror})") from error


@dataclass(frozen=True)
class _Command:
    """Settings, model and console shared by all videos."""

    options: argparse.Namespace
    localizer: VideoLocalizer
    label: int | None
    console: Console

    def print(self, line: str, style: str | None = None) -> None:
        self.console.print(line, style=style, highlight=False)

    def warn(self, line: str) -> None:
        self.print(f"warning: {line}", "yellow")

    def show_notes(self, notes: list[str]) -> None:
        for note in notes:
            self.print(f"note: {note}", "yellow")
        notes.clear()

    def localize(
        self, video: str, path: Path, source: ImageFrames | VideoFrames, name: str
    ) -> list[dict[str, Any]]:
        """Writes the files of one video and returns its records for boxes.json."""
        _make_folder(self.options.out)
        began = time.perf_counter()
        table, overlay, page = (self.options.out / f"{name}{end}" for end in ENDS)
        every_frame = localized_frames(
            self.localizer,
            source,
            batch_size=self.options.batch_size,
            label=self.label,
            postprocessing=read_options(self.options),
            min_area=min_area(self.options),
        )
        tracks = Tracks() if self.options.boxes == "all" else None
        report = make_report(self.options, self.localizer, path)
        records: list[dict[str, Any]] = []
        lines: list[list[Any]] = []
        num_frames = 0
        with self._overlay(source, overlay) as draw, _FrameBar(self.console, path, source) as bar:
            for frame, localized in every_frame:
                found, numbers = without_box_if_empty(localized, self.options.empty_over), None
                if tracks and found is not None and frame.image is not None:
                    numbers = tracks.next(found.all_boxes, frame.image)
                lines += _csv_lines(frame, found, numbers)
                if found is not None:
                    records.append(frame_record(self.options, video, frame, found, numbers))
                draw(frame, found, numbers)
                if report:
                    report.add(frame, found, numbers)
                num_frames += 1
                bar.advance()
        if report:
            report.write(page)
        _write_csv(table, lines, [*CSV_COLUMNS, TRACK_COLUMN] if tracks else CSV_COLUMNS)
        if len(records) < num_frames:
            missing = count_of(num_frames - len(records), "frame")
            self.warn(f"{path}: {missing} cannot be decoded, skipped")
        seconds = time.perf_counter() - began
        written = (overlay, self.options.overlay == "on"), (table, True), (page, report is not None)
        self.print(
            f"{path}: {count_of(num_frames, 'frame')} in {seconds:.1f} s, "
            f"{num_frames / seconds:.1f} frames/s: "
            + ", ".join(str(file) for file, on in written if on)
        )
        return records

    @contextmanager
    def _overlay(self, source: ImageFrames | VideoFrames, path: Path) -> Iterator[_Draw]:
        """Draws frames in order; the overlay video is written when the context ends."""
        if self.options.overlay == "off":
            yield lambda frame, found, tracks: None
            return
        width, height = first_size(source)
        last = np.zeros((height, width, 3), np.uint8)  # the last decoded frame

        def draw(frame: TimedFrame, found: Localization | None, tracks: Numbers) -> None:
            nonlocal last
            if frame.image is None or found is None:
                video.write(draw_missing(last), frame.seconds)
                return
            last = frame.image
            picture = draw_result(last, found, self.options.heat == "on", tracks)
            video.write(picture, frame.seconds)

        with mp4_file(path, (width, height), mean_rate(source)) as video:
            yield draw


def _csv_lines(frame: TimedFrame, found: Localization | None, tracks: Numbers) -> list[list[Any]]:
    """Values of `CSV_COLUMNS` and, with tracks, of `TRACK_COLUMN`, one line per box.

    Without a box or a decoded frame, one line with empty fields.
    """
    start = [frame.index, f"{frame.seconds:.4f}"]
    if found is None:
        return [start + [""] * (len(CSV_COLUMNS) - 2)]
    start += [found.class_name, f"{found.probability:.4f}"]
    end = f"{found.emptiness:.4f}"
    if not found.all_boxes:
        return [[*start, *[""] * 5, end]]
    boxes = zip(found.all_boxes, found.all_scores, strict=True)
    lines = [[*start, *box, f"{score:.4f}", end] for box, score in boxes]
    numbers = [[]] * len(lines) if tracks is None else [[number] for number in tracks]
    return [[*line, *number] for line, number in zip(lines, numbers, strict=True)]


def _write_csv(path: Path, lines: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([*line, *[""] * (len(columns) - len(line))] for line in lines)
    write_atomic(path, text.getvalue().encode(errors="backslashreplace"))


class _FrameBar:
    """Progress bar over the frames of a video, with frames per second."""

    def __init__(self, console: Console, path: Path, source: ImageFrames | VideoFrames) -> None:
        self.bars = progress_bar(
            console,
            text_column("{task.fields[rate]:.1f} frames/s"),
            TimeRemainingColumn(),
        )
        self.task = self.bars.add_task(path.name, total=len(source), rate=0.0)
        self.began, self.done = time.perf_counter(), 0

    def __enter__(self) -> "_FrameBar":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def advance(self) -> None:
        """Counts one frame."""
        self.done += 1
        rate = self.done / (time.perf_counter() - self.began)
        self.bars.update(self.task, completed=self.done, rate=rate)
