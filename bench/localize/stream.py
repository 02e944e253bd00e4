"""Does memory grow while a stream is localized, and how late are its results?

    python bench/localize/stream.py [--ckpt FILE] [--frames 25000] [--size 64] [--json FILE]

Raw frames are written to the standard input of `python -m colocam.localize - --out -`, with boxes
of all regions, tracks and smoothing: first as fast as they are taken, then at the pace of a camera.
Reported are frames per second, the resident memory of the process after a tenth of the frames and
at the end, and the latency: the time from the write of a frame to its line of JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for lib

from lib import ROOT
from lib.arguments import add_json, add_size, add_video, check_at_least, make_parser
from lib.frames import load_frames
from lib.inference.table import percentile_95
from lib.machine import OtherProcesses, describe, disturbance_note, file_name_of, headline
from lib.markdown_table import markdown_table, page
from lib.result_files import result_path, write_results
from lib.timing import resident

from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from colocam.runtime.files import read_header

DISTINCT = 64  # frames, which are repeated
ENCODER, RANDOM_SIZE = "resnet18", 64  # without --ckpt
OPTIONS = ("--boxes", "all", "--smooth", "0.3")
WARM_UP = 10  # frames at the pace of a camera whose latency is not counted


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        pace: "as fast as taken", or frames per second.
        frames: number of frames.
        rate: frames per second.
        early_mb, end_mb: resident memory after a tenth of the frames and at the end, MB; None where
            the system does not report it.
        latency_ms, latency_95_ms: median and 95th percentile; None where frames are written as fast
            as they are taken, and wait.
    """

    pace: str
    frames: int
    rate: float
    early_mb: float | None
    end_mb: float | None
    latency_ms: float | None
    latency_95_ms: float | None


HEADS = {
    "pace": "frames are written",
    "frames": "frames",
    "rate": "frames/s",
    "early_mb": "MB after a tenth",
    "end_mb": "MB at the end",
    "latency_ms": "latency, ms",
    "latency_95_ms": "95th percentile",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--ckpt",
        type=Path,
        metavar="FILE",
        help=f"checkpoint of a localizer (default: {ENCODER} with random weights at "
        f"{RANDOM_SIZE}×{RANDOM_SIZE})",
    )
    add_video(parser)
    add("--frames", type=int, default=20_000, help="as fast as taken (default: 20000)")
    add("--paced", type=int, default=500, help="frames at the pace of a camera (default: 500)")
    add("--fps", type=float, default=25.0, help="pace of a camera (default: 25)")
    add_size(parser, "frames")
    add_json(parser, "stream-PROCESSOR")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> None:
    check_at_least(options, frames=10, paced=WARM_UP + 1, size=8)
    if not options.fps > 0:
        raise UserError(f"--fps {options.fps:g}: must be above 0")
    machine = describe()
    path = result_path(options.json, f"stream-{file_name_of(machine, 'cpu')}")
    frames = load_frames(options.video, DISTINCT, options.size)
    others = OtherProcesses()
    with _checkpoint(options.ckpt) as ckpt:
        rows = [
            measure(frames.frames, ckpt, options.frames),
            measure(frames.frames, ckpt, options.paced, options.fps),
        ]
    percent = others.percent()
    what = f"{ENCODER}, random weights" if options.ckpt is None else options.ckpt.name
    lines = page(
        f"`localize - {' '.join(OPTIONS)}` on frames of {options.size}×{options.size}, {what}; "
        f"{headline(machine, 'cpu')}.",
        markdown_table(HEADS, rows),
        [f"Frames: {frames.about}.", *disturbance_note(percent)],
    )
    result = {"machine": machine, "others_percent": percent, "rows": [asdict(row) for row in rows]}
    write_results(path, result, lines)


@contextmanager
def _checkpoint(given: Path | None) -> Iterator[Path]:
    if given is not None:
        read_header(given)
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        info = CheckpointInfo("localizer", ENCODER, ("a", "b"), RANDOM_SIZE, "cam", 0, {})
        save_checkpoint(Path(folder) / "random.safetensors", Localizer(ENCODER, 2), info)
        yield Path(folder) / "random.safetensors"


def measure(frames: Sequence[np.ndarray], ckpt: Path, count: int, fps: float | None = None) -> Row:
    """Localizes a stream in a process of its own.

    Args:
        frames: (S, S, 3) uint8 RGB each, repeated.
        ckpt: checkpoint of a localizer.
        count: number of frames of the stream.
        fps: pace at which they are written; None: as fast as they are taken.

    Raises:
        UserError: the process ended with an error.
    """
    height, width = frames[0].shape[:2]
    command = [sys.executable, "-m", "colocam.localize", "-", "--size", f"{width}x{height}"]
    command += ["--ckpt", str(ckpt.absolute()), "--out", "-", *OPTIONS]
    written = [0.0] * count
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        begun, measured = threading.Event(), threading.Event()
        pixels = [frame.tobytes() for frame in frames]
        arguments = (process, pixels, written, fps, begun, measured)
        threading.Thread(target=_write, args=arguments, daemon=True).start()
        read, early, end = _read(process, count, begun, measured)
        assert process.stderr is not None
        error = process.stderr.read().decode()
    if process.returncode or len(read) < count:
        raise UserError(error.strip().removeprefix("error: ") or f"only {len(read)} results")
    late = [1e3 * (b - a) for a, b in zip(written, read, strict=True)][WARM_UP:]
    return Row(
        "as fast as taken" if fps is None else f"{fps:g} per second",
        count,
        (count - 1) / (read[-1] - read[0]),
        early,
        end,
        None if fps is None else statistics.median(late),
        None if fps is None else percentile_95(late),
    )


def _write(
    process: subprocess.Popen[bytes],
    frames: Sequence[bytes],
    written: list[float],
    fps: float | None,
    begun: threading.Event,
    measured: threading.Event,
) -> None:
    """Writes frames to a process and their times to `written`, until nobody reads them.

    Its input ends when its memory is measured: it would end with it.
    """
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as file:
        for number in range(len(written)):
            if fps is not None and number == 1:  # the model is loaded
                begun.wait()
                start = time.perf_counter()
            if fps is not None and number:
                time.sleep(max(0.0, start + number / fps - time.perf_counter()))
            file.write(frames[number % len(frames)])
            file.flush()
            written[number] = time.perf_counter()
        measured.wait()


def _read(
    process: subprocess.Popen[bytes],
    count: int,
    begun: threading.Event,
    measured: threading.Event,
) -> tuple[list[float], float | None, float | None]:
    """Reads the results; returns their times, and the memory after a tenth and at the end."""
    assert process.stdout is not None
    read: list[float] = []
    early = end = None
    for line in process.stdout:
        assert json.loads(line)["frame"] == len(read)
        read.append(time.perf_counter())
        begun.set()
        if len(read) == max(1, count // 10):
            early = _megabytes(process.pid)
        if len(read) == count - 1:
            end = _megabytes(process.pid)
            measured.set()
    begun.set()
    measured.set()
    return read, early, end


def _megabytes(process: int) -> float | None:
    try:
        return resident("VmRSS", process) / 1e6
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main())
