"""Streams for the command localize: a camera, an address, or raw frames on standard input."""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from rich.console import Console

from colocam.cli.box_options import min_area
from colocam.cli.frame_record import Numbers, frame_record, without_box_if_empty
from colocam.data.decoding.timestamps import TimedFrame
from colocam.localization.inference import Localization, VideoLocalizer
from colocam.localization.tracks import Tracks
from colocam.localization.whole_video import frames_per_batch, localized_batches
from colocam.postprocessing.settings import read_options
from colocam.runtime.console import make_console, print_error, status_line
from colocam.runtime.errors import UserError
from colocam.runtime.files import check_folder
from colocam.runtime.interruption import Interruption, catch_signals
from colocam.runtime.messages import count_of
from colocam.streaming.address import Address, is_address
from colocam.streaming.camera import Camera
from colocam.streaming.captures import Stream
from colocam.streaming.connection import DEFAULT_RETRY, Connection
from colocam.streaming.json_lines import JsonLines, LinesFile, LinesOutput
from colocam.streaming.raw_frames import DEFAULT_RATE, RawFrames, parse_size
from colocam.streaming.reader import FrameReader

_STANDARD = "-"  # input or output
_RAW_OPTIONS = ("--size", "--pixel-format", "--fps")


def add_stream_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options of streams."""
    add = group.add_argument
    add(
        "--size",
        metavar="WxH",
        help="width and height of raw frames, such as 640x360; required for -",
    )
    add(
        "--pixel-format",
        choices=("rgb24", "bgr24"),
        help="bytes of a pixel of raw frames (default: rgb24)",
    )
    add(
        "--fps",
        metavar="RATE",
        help="frames per second of raw frames, such as 30 or 30000/1001, for their times "
        f"(default: {DEFAULT_RATE:g})",
    )
    add(
        "--retry",
        type=float,
        metavar="S",
        help="seconds for which a lost camera or address is tried again; inf: for ever (default: "
        f"{DEFAULT_RETRY:g})",
    )


def stream_of(options: argparse.Namespace) -> Stream | None:
    """The stream that the command is given; None: it is given videos.

    Raises:
        UserError: a stream beside others, or options that do not belong together.
    """
    streams = [video for video in options.videos if _is_stream(video)]
    if streams and len(options.videos) > 1:
        name = Address(streams[0]).name if is_address(streams[0]) else streams[0]
        raise UserError(f"{name}: a stream must be the only VIDEO; give each one its own command")
    video = streams[0] if streams else None
    raw = video == _STANDARD
    if not raw:
        _refuse(options, _RAW_OPTIONS, "only for raw frames on standard input (-)")
    if raw or not streams:
        _refuse(options, ("--retry",), "only for a camera or an address")
    if video is None:
        if options.out == Path(_STANDARD):
            raise UserError("--out -: only for a stream; give a folder")
        return None
    if options.overlay == "on":
        raise UserError("--overlay on: not for a stream; record it, and localize the file")
    if options.heat == "on":
        raise UserError("--heat on: not for a stream, which has no overlay")
    if options.report:
        raise UserError("--report: not for a stream; record it, and localize the file")
    if options.retry is not None and not options.retry >= 0:
        raise UserError(f"--retry {options.retry}: must be at least 0")
    if raw:
        return _raw_frames(options)
    return Address(video) if is_address(video) else Camera(int(video))


def _is_stream(video: str) -> bool:
    if video == _STANDARD or is_address(video):
        return True
    return video.isascii() and video.isdecimal() and not Path(video).exists()


def _refuse(options: argparse.Namespace, flags: tuple[str, ...], why: str) -> None:
    for flag in flags:
        if getattr(options, flag.removeprefix("--").replace("-", "_")) is not None:
            raise UserError(f"{flag}: {why}")


def _raw_frames(options: argparse.Namespace) -> RawFrames:
    if options.size is None:
        raise UserError("-: needs the size of the frames, such as --size 640x360")
    try:
        size = parse_size(options.size)
    except ValueError as error:
        raise UserError(f"--size {options.size}: {error}") from error
    rate = DEFAULT_RATE
    if options.fps is not None:
        try:
            rate = float(Fraction(options.fps))
        except (ValueError, ZeroDivisionError, OverflowError):
            rate = math.nan
        if not 0 < rate <= 1e6:
            raise UserError(f"--fps {options.fps}: must be a rate such as 30 or 30000/1001")
    return RawFrames(size, options.pixel_format or "rgb24", rate)


def stream_console(options: argparse.Namespace) -> Console:
    """Console of a stream's messages: stdout, or stderr if stdout has the results."""
    return make_console(soft_wrap=True, stderr=options.out == Path(_STANDARD))


def localize_stream(
    stream: Stream,
    options: argparse.Namespace,
    localizer: VideoLocalizer,
    label: int | None,
    console: Console,
) -> int:
    """Localizes a stream until it ends or a signal comes, and returns the exit status.

    Raises:
        UserError: the stream cannot be opened or is lost, or results cannot be written. What was
            computed before is written.
    """
    if options.out != Path(_STANDARD):
        check_folder(options.out, "--out ")
    with catch_signals() as interruption:
        _Run(stream, options, localizer, label, console, interruption).run()
    if interruption.number:
        print_error(f"stopped by {interruption.name}")
        return 128 + interruption.number
    return 0


@dataclass
class _Run:
    """One stream: settings, and what was counted so far."""

    stream: Stream
    options: argparse.Namespace
    localizer: VideoLocalizer
    label: int | None
    console: Console
    interruption: Interruption
    lines: JsonLines | None = None  # from the first result on
    began: float = 0.0  # the first forward pass
    done: int = 0
    reader: FrameReader = field(init=False)

    def __post_init__(self) -> None:
        retry = DEFAULT_RETRY if self.options.retry is None else self.options.retry
        connection = Connection(self.stream, retry, self._warn)

        def capacity(frame: TimedFrame) -> int:
            assert frame.image is not None
            height, width = frame.image.shape[:2]
            most = self.options.batch_size or (1 if connection.live else self.localizer.batch_size)
            return frames_per_batch((width, height), most)

        self.reader = FrameReader(connection, capacity)

    def run(self) -> None:
        """Localizes every frame that comes and is not skipped."""
        tracks = Tracks() if self.options.boxes == "all" else None
        localized = localized_batches(
            self.localizer,
            self._batches(),
            label=self.label,
            postprocessing=read_options(self.options),
            min_area=min_area(self.options),
        )
        with self._summary(), closing(self.reader), self._progress() as show:
            for frame, result in localized:
                found, numbers = without_box_if_empty(result, self.options.empty_over), None
                if found is None or frame.image is None:
                    continue
                if tracks is not None:
                    numbers = tracks.next(found.all_boxes, frame.image)
                try:
                    self._write(frame, found, numbers)
                except BrokenPipeError:  # nobody reads the results any more
                    return
                show()
        if self.lines is None and not self.interruption.number:
            raise UserError(f"{self.stream.name}: none of its frames can be decoded")

    def _batches(self) -> Iterator[list[TimedFrame]]:
        for batch in self.reader.batches(lambda: bool(self.interruption.number)):
            self.began = self.began or time.monotonic()
            yield batch

    def _write(self, frame: TimedFrame, found: Localization, numbers: Numbers) -> None:
        if self.lines is None:
            self.lines = self._open()
        record = frame_record(self.options, self.stream.video, frame, found, numbers)
        first = {"video": record["video"], "frame": frame.index, "time": round(frame.seconds, 4)}
        self.lines.write(first | record)
        self.done += 1

    def _open(self) -> JsonLines:
        if self.options.out == Path(_STANDARD):
            return LinesOutput()
        lines = LinesFile(self.options.out, self.stream.file_name)
        self._print(f"{self.stream.name}: results are written to {lines.name}")
        return lines

    @contextmanager
    def _summary(self) -> Iterator[None]:
        """Prints at the end, whatever it is, how many frames were localized."""
        try:
            yield
        finally:
            if self.lines is not None:
                self.lines.close()
                seconds = time.monotonic() - self.began
                self._print(
                    f"{self.stream.name}: {count_of(self.done, 'frame')} in {seconds:.1f} s, "
                    f"{self._counts()}: {self.lines.name}"
                )

    def _counts(self) -> str:
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        text = f"{rate:.1f} frames/s"
        if self.reader.skipped:
            text += f", {self.reader.skipped} skipped to keep up"
        if self.reader.undecoded:
            text += f", {self.reader.undecoded} cannot be decoded"
        return text

    @contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Shows the counts in a terminal while the block runs; yields what brings them up to date.

        Nothing is shown in a file or pipe.
        """
        with status_line(self.console) as bars:
            task = bars.add_task(f"{self.stream.name}: waiting for the first frame")

            def show() -> None:
                count = count_of(self.done, "frame")
                bars.update(task, description=f"{self.stream.name}: {count}, {self._counts()}")

            yield show

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False)

    def _warn(self, line: str) -> None:
        self.console.print(f"warning: {line}", style="yellow", highlight=False)
