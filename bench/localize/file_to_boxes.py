"""Frames per second from a video file to boxes, and of the steps on the way.

    python bench/localize/file_to_boxes.py --video FILE … --ckpt FILE [--device cuda --decoder gpu]

Every row is one video; of the first, a copy of 1920×1080 is made and measured too. Steps: opening,
which counts its frames; decoding and resizing, as for the frame cache; all from file to boxes, as
colocam.localize without writing results. Reported with them: the network alone on resized frames,
and the floor of each step, which is decoding alone for the input and the slower of decoding and
network for all.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for lib

from lib.arguments import add_device, add_json, check_at_least, make_parser
from lib.machine import Machine, OtherProcesses, describe, disturbance_note, file_name_of, headline
from lib.markdown_table import markdown_table, page
from lib.result_files import result_path, write_results

from colocam.data.decoding.open import open_video
from colocam.data.decoding.video_file import VideoFrames
from colocam.localization.inference import VideoLocalizer
from colocam.localization.video_writer import mp4_file
from colocam.localization.whole_video import localized_frames
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

LARGE = (1920, 1080)
LARGE_FRAMES = 120


@dataclass(frozen=True)
class Row:
    """Frames per second of one video.

    Attributes:
        video: name of the file.
        size: width×height, pixels.
        frames: number of frames.
        decoding: alone, without conversion to RGB.
        opening: of `open_video`.
        resized: decoding and resizing.
        network: on resized frames.
        boxes: from the closed file to boxes.
        floor: of `boxes`: the slower of decoding and network.
    """

    video: str
    size: str
    frames: int
    decoding: float
    opening: float
    resized: float
    network: float
    boxes: float
    floor: float


HEADS = {
    "video": "video",
    "size": "size",
    "frames": "frames",
    "decoding": "decoding alone",
    "opening": "opening",
    "resized": "decoding and resizing",
    "network": "network alone",
    "boxes": "file to boxes",
    "floor": "floor",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--video", type=Path, nargs="+", required=True, metavar="FILE", help="video files")
    add("--ckpt", type=Path, required=True, metavar="FILE", help="checkpoint of a localizer")
    add_device(parser)
    add("--decoder", choices=("cpu", "gpu"), default="cpu", help="of colocam.localize")
    add("--batch-size", type=int, metavar="N", help="(default: that of colocam.localize)")
    add("--repeats", type=int, default=3, metavar="N", help="medians over N (default: 3)")
    add_json(parser, "file_to_boxes-PROCESSOR")
    options = parser.parse_args(argv)
    check_at_least(options, batch_size=1, repeats=1)
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()  # first: it includes the load before this run
    localizer = VideoLocalizer(options.ckpt, options.device)
    options.batch_size = options.batch_size or localizer.batch_size
    device = localizer.device.type
    path = result_path(options.json, f"file_to_boxes-{file_name_of(machine, device)}")
    others = OtherProcesses()
    rows = [measure(video, localizer, options) for video in options.video]
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / f"{options.video[0].stem}-1080p.mp4"
        _enlarge(options.video[0], large, options)
        rows.append(measure(large, localizer, options))
    _write(path, rows, localizer, machine, others.percent(), options)


def measure(video: Path, localizer: VideoLocalizer, options: argparse.Namespace) -> Row:
    """Measures all steps of one video."""
    source = _open(video, options)
    count, side = len(source), localizer.info.size
    batch = [frame for frame in source.between(0, options.batch_size) if frame is not None]
    inputs = localizer.inputs(batch)

    def boxes() -> None:
        opened = _open(video, options)
        for _ in localized_frames(localizer, opened, batch_size=options.batch_size):
            pass

    def rate(work: Callable[[], object], frames: int) -> float:
        return frames / _seconds(work, options.repeats)

    work = {
        "decoding": (lambda: _grab_all(source), count),
        "opening": (lambda: _open(video, options), count),
        "resized": (lambda: sum(1 for _ in source.between(0, count, side)), count),
        "network": (lambda: localizer.infer(batch, inputs=inputs), len(batch)),
        "boxes": (boxes, count),
    }
    rates = {name: rate(*one) for name, one in work.items()}
    width, height = source.size
    floor = min(rates["decoding"], rates["network"])
    return Row(video.name, f"{width}×{height}", count, floor=floor, **rates)


def _open(video: Path, options: argparse.Namespace) -> VideoFrames:
    source = open_video(video, str(video), [])
    if not isinstance(source, VideoFrames):
        raise UserError(f"--video {video}: is a folder; give a video file")
    if options.decoder == "cpu":
        return source
    source = source.decoded_by_gpu()
    if source.decoder == "cpu":
        raise UserError(f"--video {video}: the GPU does not decode it")
    return source


def _grab_all(source: VideoFrames) -> None:
    with source.capture() as capture:
        while capture.grab():
            pass


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Median duration after a warm-up; results of a GPU are on the host when `work` returns."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _enlarge(video: Path, out: Path, options: argparse.Namespace) -> None:
    """Writes the first frames of a video at 1920×1080."""
    source = _open(video, options)
    with mp4_file(out, LARGE, 30.0) as written:
        for number, frame in enumerate(source.between(0, min(LARGE_FRAMES, len(source)))):
            if frame is not None:
                large = cv2.resize(frame, LARGE, interpolation=cv2.INTER_CUBIC)
                written.write(np.asarray(large), number / 30)


def _write(
    path: Path,
    rows: Sequence[Row],
    localizer: VideoLocalizer,
    machine: Machine,
    others: float | None,
    options: argparse.Namespace,
) -> None:
    side = localizer.info.size
    heading = (
        f"Frames per second from a video file to boxes: {localizer.info.encoder} at {side}×{side}, "
        f"batches of {options.batch_size}, {torch.get_num_threads()} threads, decoded by the "
        f"{options.decoder.upper()}; "
        f"{headline(machine, localizer.device.type)}."
    )
    notes = [
        "File to boxes includes opening: of common files, 16 frames are decoded and all packets "
        "counted; others are decoded. Results are not written.",
        "Floor: the slower of decoding alone and the network alone. On a CPU both share the cores.",
        *disturbance_note(others),
    ]
    result = {
        "machine": machine,
        "device": localizer.device.type,
        "encoder": localizer.info.encoder,
        "side": side,
        "batch_size": options.batch_size,
        "decoder": options.decoder,
        "others_cpu_percent": others,
        "rows": [asdict(row) for row in rows],
    }
    write_results(path, result, page(heading, markdown_table(HEADS, rows), notes))


if __name__ == "__main__":
    sys.exit(main())
