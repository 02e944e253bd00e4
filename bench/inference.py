"""Latency and throughput of inference (CoLo-CAM paper, Table 4).

    python bench/inference.py [--device auto|cpu|cuda] [--encoder resnet50] [--batch-sizes 4 16 64]

A pass starts from uint8 frames on the device. The localizer returns class logits and score maps S¹;
a class activation map (CAM) returns the normalized map of the most probable class at the size of
the frames. Reported with the times: peak memory, and the floor, which is the operations of the pass
over the rate of a large matrix product or convolution on the same machine in the same dtype.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from lib.arguments import (
    add_amp,
    add_device,
    add_encoder,
    add_json,
    add_seconds,
    add_size,
    add_video,
    check_at_least,
    check_seconds,
    make_parser,
)
from lib.compilation import compile_errors_reported
from lib.frames import FrameSet, load_frames
from lib.inference.passes import METHODS, Passes
from lib.inference.table import (
    HEADS,
    PUBLISHED_ABOUT,
    Row,
    notes,
    percentile_95,
    summarize,
)
from lib.machine import Machine, OtherProcesses, describe, file_name_of, headline
from lib.markdown_table import markdown_table, page
from lib.result_files import result_path, write_results
from lib.roofline import count_flops, format_rates, peak_rates
from lib.timing import peak_memory, time_graph, time_on_cpu, time_work

from colocam.cli.train import compiles
from colocam.models import Localizer
from colocam.runtime.device import Autocast, make_autocast, pick_device
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from colocam.training.config import Config

CLASSES = 10
BATCH_SIZES = {"cpu": (1, 4, 16), "cuda": (1, 2, 4, 8, 16, 32, 64, 128)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_device(parser)
    add_encoder(parser)
    sizes = "; ".join(f"{name}: {' '.join(map(str, n))}" for name, n in BATCH_SIZES.items())
    add(
        "--batch-sizes",
        type=int,
        nargs="+",
        metavar="N",
        help=f"frames per pass; 1 is always measured (default: {sizes})",
    )
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="(default: all)")
    add_video(parser)
    add_size(parser, "frames")
    add_amp(parser)
    add(
        "--compile",
        choices=("on", "off"),
        default="off",
        help="torch.compile, for each batch size; evaluate.py and localize do not compile",
    )
    add_seconds(parser, 1.0, "each measurement")
    add_json(parser, "inference-ENCODER-PROCESSOR")
    options = parser.parse_args(argv)
    check_at_least(options, batch_sizes=1, size=32)
    check_seconds(options)
    options.methods = list(dict.fromkeys(options.methods))
    return options


@dataclass(frozen=True)
class Setting:
    """Setting shared by all measurements.

    Attributes:
        device: where it computes.
        model: localizer of random weights.
        autocast: creates the context of a pass.
        compiled: whether torch.compile is used.
        frames: source of the batches.
        gflops: operations per frame by method, 10^9.
        rates: FLOP/s of "matmul" and "convolution".
        size: side of the frames, pixels.
        seconds: total time of the repeats of a measurement.
    """

    device: torch.device
    model: Localizer
    autocast: Autocast
    compiled: bool
    frames: FrameSet
    gflops: dict[str, float]
    rates: dict[str, float]
    size: int
    seconds: float


def _run(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    device = pick_device(options.device)
    machine = describe()  # first: it includes the load before this run
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
                    line = (
                        f"{method}, batch size {batch_size}: skipped; it does not fit into memory"
                    )
                    console.print(line, style="yellow", markup=False)
                progress.advance(bar)
    if {row.method for row in rows if row.batch_size == 1} < set(options.methods):
        raise UserError("--methods: one frame does not fit into memory; choose fewer")
    _write(path, rows, machine, setting, options)


def _make_setting(options: argparse.Namespace, most: int, device: torch.device) -> Setting:
    frames = load_frames(options.video, most, options.size)
    model = Localizer(options.encoder, CLASSES).eval().requires_grad_(False)
    model = model.to(device).to(memory_format=torch.channels_last)
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
        rates=peak_rates(device, autocast.dtype, options.seconds),
        size=options.size,
        seconds=options.seconds,
    )


@torch.inference_mode()
def _gflops(passes: Passes, method: str, images: torch.Tensor) -> float:
    return count_flops(lambda: passes(method, images)) / 1e9


def _make_passes(setting: Setting) -> Passes:
    """Creates passes for one batch size, so that no limit of recompilations is reached."""
    torch.compiler.reset()
    return Passes(setting.model, setting.size, setting.autocast, setting.compiled)


@torch.inference_mode()
def _measure(setting: Setting, passes: Passes, method: str, batch_size: int) -> Row:
    device, seconds = setting.device, setting.seconds
    images = setting.frames.take(batch_size).to(device)

    def work() -> object:
        return passes(method, images)

    def synchronized() -> None:
        work()
        torch.cuda.synchronize()

    if setting.compiled:
        with compile_errors_reported():
            work()
    others = OtherProcesses()
    times = time_work(lambda: work, device, seconds)
    peak = peak_memory(lambda: work, device)
    alone = device.type == "cuda" and batch_size == 1
    wait = time_on_cpu(lambda: synchronized, seconds) if alone else None
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
    machine: Machine,
    setting: Setting,
    options: argparse.Namespace,
) -> None:
    """Writes JSON and Markdown; prints the table."""
    summaries = summarize(rows, options.encoder, options.size)
    dtype = str(setting.autocast.dtype).removeprefix("torch.")
    heading = (
        f"{headline(machine, setting.device.type)}; {options.encoder}, "
        f"{options.size}×{options.size}, {dtype}, channels-last, "
        f"{'compiled' if setting.compiled else 'not compiled'}; {format_rates(setting.rates)}; "
        f"{setting.frames.about}."
    )
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
    lines = page(heading, markdown_table(HEADS, summaries), notes(rows, summaries))
    write_results(path, result, lines)


if __name__ == "__main__":
    sys.exit(main())
