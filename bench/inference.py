"""How fast frames are localized, one alone and many at once (CoLo-CAM paper, Table 4).

    python bench/inference.py [--device auto|cpu|cuda] [--encoder resnet50] [--batch-sizes 4 16 64]

A pass goes from uint8 frames on the device to what a user gets: the localizer's to class logits and
score maps S¹, an activation map's (CAM) to the normalized map of the most probable class, at the
frames' size. Beside the times: memory, and the floor: the operations of the pass at the rate that a
large matrix product or convolution reaches on the same machine, in the same number format.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from colocam.models import Localizer
from colocam.models.encoders import ENCODERS
from colocam.runtime.device import make_autocast, pick_device
from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from colocam.training.config import Config
from colocam.training.run import compiles
from lib.compiling import compiler_failures_told
from lib.floor import flops_of, in_words, rates
from lib.frames import FrameSet, load_frames
from lib.inference.passes import METHODS, Passes
from lib.inference.table import (
    HEADS,
    PUBLISHED_ABOUT,
    SIDE,
    Row,
    notes,
    percentile_95,
    summarize,
)
from lib.machine import OtherProcesses, describe, file_name_of, headline
from lib.markdown_table import markdown_table
from lib.result_files import result_path, write_results
from lib.timing import peak_memory, time_graph, time_on_cpu, time_work

CLASSES = 10
BATCH_SIZES = {"cpu": (1, 4, 16), "cuda": (1, 2, 4, 8, 16, 32, 64, 128)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--encoder", choices=tuple(ENCODERS), default="resnet50")
    sizes = "; ".join(f"{name}: {' '.join(map(str, n))}" for name, n in BATCH_SIZES.items())
    add(
        "--batch-sizes",
        type=int,
        nargs="+",
        metavar="N",
        help=f"frames a pass; 1 is measured in any case (default: {sizes})",
    )
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="(default: all)")
    add("--video", type=Path, help="a video file or a folder of frames; without it: drawn frames")
    add("--size", type=int, default=SIDE, help=f"side of the frames, pixels (default: {SIDE})")
    add(
        "--amp",
        choices=("auto", "off", "bf16", "fp16"),
        default="auto",
        help="mixed precision; auto: bf16 where the hardware computes in it",
    )
    add(
        "--compile",
        choices=("on", "off"),
        default="off",
        help="torch.compile, for every batch size anew; evaluate.py and localize never do",
    )
    add("--seconds", type=float, default=1.0, help="for each measurement, at least 3 repeats")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="(default: bench/results/inference-ENCODER-*.json)",
    )
    options = parser.parse_args(argv)
    for name, least, values in (
        ("batch-sizes", 1, options.batch_sizes or [1]),
        ("size", 32, [options.size]),
    ):
        if min(values) < least:
            raise UserError(f"--{name} {min(values)}: must be at least {least}")
    if not options.seconds > 0:
        raise UserError(f"--seconds {options.seconds:g}: must be above 0")
    options.methods = list(dict.fromkeys(options.methods))
    return options


@dataclass(frozen=True)
class Setting:
    """What all measurements have in common.

    Attributes:
        device: where.
        model: of random weights.
        autocast: makes the context of a pass.
        compiled: by torch.compile.
        frames: of which batches are taken.
        gflops: operations a frame by method, 10^9.
        rates: FLOPs a second that "matmul" and "convolution" reach.
        size: of the frames, pixels.
        seconds: for each measurement.
    """

    device: torch.device
    model: Localizer
    autocast: Callable[[], torch.autocast]
    compiled: bool
    frames: FrameSet
    gflops: dict[str, float]
    rates: dict[str, float]
    size: int
    seconds: float


def _run(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    device = pick_device(options.device)
    machine = describe()  # first: it notes how busy the machine is before this run
    name = f"inference-{options.encoder}-{file_name_of(machine, device.type)}"
    path = result_path(options.json, name)
    sizes = sorted({1, *(options.batch_sizes or BATCH_SIZES[device.type])})
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("frames, rate of the machine", total=None)
        setting = _make_setting(options, sizes[-1], device)
        console.print(setting.frames.about, markup=False)
        progress.update(bar, total=len(sizes) * len(options.methods))
        rows: list[Row] = []
        for batch_size in sizes:
            passes = _make_passes(setting)
            for method in options.methods:
                progress.update(bar, description=f"batch size {batch_size}: {method}")
                try:
                    rows.append(_measure(setting, passes, method, batch_size))
                except torch.OutOfMemoryError:
                    line = f"{method}, batch size {batch_size}: left out; no memory for it"
                    console.print(line, style="yellow", markup=False)
                progress.advance(bar)
    if {row.method for row in rows if row.batch_size == 1} < set(options.methods):
        raise UserError("--methods: one frame does not fit into memory; leave some out")
    _write(path, rows, machine, setting, options)


def _make_setting(options: argparse.Namespace, most: int, device: torch.device) -> Setting:
    frames = load_frames(options.video, most, options.size)
    model = Localizer(options.encoder, CLASSES).eval().requires_grad_(False)
    model = model.to(device, memory_format=torch.channels_last)
    autocast = make_autocast(options.amp, device)
    plain = Passes(model, options.size, autocast, compiled=False)
    frame = frames.take(1).to(device)
    return Setting(
        device=device,
        model=model,
        autocast=autocast,
        compiled=compiles(Config(compile=options.compile), device),
        frames=frames,
        gflops={method: _gflops(plain, method, frame) for method in options.methods},
        rates=rates(device, autocast.dtype, options.seconds),
        size=options.size,
        seconds=options.seconds,
    )


@torch.inference_mode()
def _gflops(passes: Passes, method: str, images: torch.Tensor) -> float:
    return flops_of(lambda: passes(method, images)) / 1e9


def _make_passes(setting: Setting) -> Passes:
    """Fresh ones for a batch size: compiled for it alone, past no limit of recompilations."""
    torch.compiler.reset()
    return Passes(setting.model, setting.size, setting.autocast, setting.compiled)


@torch.inference_mode()
def _measure(setting: Setting, passes: Passes, method: str, batch_size: int) -> Row:
    device, seconds = setting.device, setting.seconds
    images = setting.frames.take(batch_size).to(device)

    def work() -> object:
        return passes(method, images)

    def waited() -> None:
        work()
        torch.cuda.synchronize()

    if setting.compiled:
        with compiler_failures_told():
            work()
    others = OtherProcesses()
    times = time_work(lambda: work, device, seconds)
    peak = peak_memory(lambda: work, device)
    alone = device.type == "cuda" and batch_size == 1
    wait = time_on_cpu(lambda: waited, seconds) if alone else None
    graph = time_graph(work, seconds) if alone else None
    gflops = batch_size * setting.gflops[method]
    floor = 1e12 * gflops / max(setting.rates.values())
    return Row(
        method=method,
        batch_size=batch_size,
        repeats=len(times.ms),
        ms=times.median,
        p95_ms=percentile_95(times.ms),
        frames_per_s=1e3 * batch_size / times.median,
        wait_ms=None if wait is None else wait.median,
        graph_ms=None if graph is None else graph.median,
        peak_mb=peak,
        gflops=gflops,
        floor_ms=floor,
        floor_percent=100 * floor / times.median,
        others_cpu_percent=others.percent(),
    )


def _write(
    path: Path,
    rows: list[Row],
    machine: dict[str, object],
    setting: Setting,
    options: argparse.Namespace,
) -> None:
    """JSON and Markdown; the table also goes to the terminal."""
    summaries = summarize(rows, options.encoder, options.size)
    dtype = str(setting.autocast.dtype).removeprefix("torch.")
    lines = [
        f"{headline(machine, setting.device.type)}; {options.encoder}, "
        f"{options.size}×{options.size}, {dtype}, channels-last, "
        f"{'compiled' if setting.compiled else 'not compiled'}; {in_words(setting.rates)}; "
        f"{setting.frames.about}.",
        "",
        *markdown_table(HEADS, summaries),
        "",
        *(f"- {line}" for line in notes(rows, summaries)),
    ]
    result = {
        "machine": machine,
        "device": setting.device.type,
        "encoder": options.encoder,
        "weights": "random",
        "classes": CLASSES,
        "size": options.size,
        "frames": setting.frames.about,
        "dtype": dtype,
        "memory_format": "channels_last",
        "compiled": setting.compiled,
        "seconds": options.seconds,
        "flops_per_s": setting.rates,
        "published": PUBLISHED_ABOUT,
        "summary": [asdict(summary) for summary in summaries],
        "rows": [asdict(row) for row in rows],
    }
    write_results(path, result, lines)


if __name__ == "__main__":
    sys.exit(main())
