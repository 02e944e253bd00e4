"""Time of one SGD step of stage 2, and of its parts (CoLo-CAM paper, Table 4).

    python bench/train_step.py [--device auto|cpu|cuda] [--data DIR | --video PATH] [--amp MODE]

Every repeat runs, on the same batch, a whole training step, a step with its parts timed, and every
loss term alone with its gradient on the maps. Reported with the times: the floor, which is
operations over the rate of a large matrix product or convolution on the same machine, or bytes
moved over the copy bandwidth.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from lib.arguments import (
    SIDE,
    add_amp,
    add_device,
    add_encoder,
    add_json,
    add_seconds,
    add_size,
    check_at_least,
    check_seconds,
    make_parser,
)
from lib.machine import describe, file_name_of
from lib.markdown_table import markdown_table, page
from lib.result_files import result_path, write_results
from lib.step.input import data_folder, enough_shots, time_loader
from lib.step.parts import BOTH_CRF, WHOLE, StepTimes, open_stage, time_step, whole_step
from lib.step.setting import BATCH_SIZE, Setting, make_setting
from lib.step.table import HEADS, SUM, Row, heading, make_rows, notes
from lib.synchronization import first_synchronization
from lib.timing import peak_memory

from colocam.cli.options import parse_config
from colocam.runtime.device import pick_device
from colocam.runtime.distribution import ALONE
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from colocam.training.config import Config
from colocam.training.localizer import LocalizerStage
from colocam.training.run import Run, open_run

WORKERS = {"cpu": 0, "cuda": 8}  # on a CPU they would compete with the step for cores


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    switch = ("auto", "on", "off")
    add_device(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data", type=Path, metavar="DIR", help="(default: the built-in clip set, size 'large')"
    )
    source.add_argument(
        "--video", type=Path, metavar="PATH", help="a video file or a folder of frames, as one shot"
    )
    add_encoder(parser)
    add("--batch-size", type=int, default=BATCH_SIZE, help=f"frames (default: {BATCH_SIZE})")
    add("--frames", type=int, default=4, help="frames per sequence, n (default: 4)")
    add_size(parser, "crops")
    add_amp(parser)
    add("--compile", choices=switch, default="auto", help="torch.compile; auto: on a GPU")
    add("--deterministic", choices=switch[1:], default="off", help="as in train.py")
    add("--workers", type=int, help="decoding processes (default: 0 on a CPU, 8 with a GPU)")
    add_seconds(parser, 60.0, "the measurement of steps")
    add_json(parser, "train_step-ENCODER-PROCESSOR")
    options = parser.parse_args(argv)
    check_at_least(options, size=32)
    check_seconds(options)
    return options


def _run(options: argparse.Namespace) -> None:
    device = pick_device(options.device)
    machine = describe()  # first: it includes the load before this run
    how = "-deterministic" if options.deterministic == "on" else ""
    name = f"train_step-{options.encoder}-{file_name_of(machine, device.type)}{how}"
    path = result_path(options.json, name)

    def keep(result: dict[str, Any], rows: list[Row]) -> None:
        _write(path, {"machine": machine, **result}, rows, finished=False)

    with data_folder(options.data, options.video) as folder:
        run = enough_shots(open_run(_config(options, folder, device), ALONE))
        with Progress(console=Console(stderr=True), transient=True) as progress:
            try:
                result, rows = _measure(run, options, progress, keep)
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"--batch-size {options.batch_size}: does not fit into memory; give a smaller "
                    "one"
                ) from error
    _write(path, {"machine": machine, **result}, rows)


def _config(options: argparse.Namespace, data: Path | None, device: torch.device) -> Config:
    """Configuration of the paper with random weights and the given arguments."""
    given = {
        "preset": "paper",
        "stage": "localizer",
        "weights": "none",
        "clip-set": "large",
        "device": device.type,
        "encoder": options.encoder,
        "batch-size": options.batch_size,
        "frames": options.frames,
        "resize": round(options.size * 256 / SIDE),
        "crop": options.size,
        "amp": options.amp,
        "compile": options.compile,
        "deterministic": options.deterministic,
        "workers": WORKERS[device.type] if options.workers is None else options.workers,
    } | ({} if data is None else {"data": data})
    argv = [f"--{name}={value}" for name, value in given.items()]
    return parse_config(argv, device.type == "cuda")


def _measure(
    run: Run,
    options: argparse.Namespace,
    progress: Progress,
    keep: Callable[[dict[str, Any], list[Row]], None],
) -> tuple[dict[str, Any], list[Row]]:
    """Result and rows; those measured so far, without the peak of memory, also go to `keep`."""

    def report(done: int, repeats: int) -> None:
        progress.update(bar, description="steps", completed=done, total=repeats)

    bar = progress.add_task("frames to batches", total=None)
    batch, input_ms = time_loader(run)
    progress.update(bar, description="rate of the machine")
    setting = make_setting(run, batch, _source(options, run.config), options.seconds)
    progress.update(bar, description="warm-up")
    stage = open_stage(run)
    times = time_step(
        stage,
        batch,
        options.seconds,
        report,
        lambda times: keep(_result(stage, setting, times), make_rows(times, input_ms, setting)),
    )
    progress.update(bar, description="memory", total=None)
    peak = peak_memory(lambda: lambda: whole_step(stage, batch, 0), run.device)
    waits = first_synchronization(lambda: whole_step(stage, batch, 1)) if setting.on_gpu else None
    result = _result(stage, setting, times) | {
        "peak_mb": peak,
        "host_sync": waits is not None if setting.on_gpu else None,
        "host_sync_at": waits,
    }
    return result, make_rows(times, input_ms, setting)


def _result(stage: LocalizerStage, setting: Setting, times: StepTimes) -> dict[str, Any]:
    """Setting and summary of the measurement, without rows and without what follows the steps."""
    by_channels = stage.model.to_maps.weight.is_contiguous(memory_format=torch.channels_last)
    return setting.describe() | {
        "memory_format": "channels_last" if by_channels else "contiguous",
        "repeats": len(times.by_part[WHOLE].ms),
        "steps_left_out": times.skipped,
        "peak_mb": None,
        "host_sync": None,
        "host_sync_at": None,
        "others_cpu_percent": times.others_cpu_percent,
    }


def _source(options: argparse.Namespace, config: Config) -> str:
    """Origin of the frames, one line."""
    given = options.video or options.data
    name = f"the built-in clip set '{config.clip_set}'" if given is None else given.absolute().name
    return f"frames of {name}"


def _write(path: Path, result: dict[str, Any], rows: list[Row], *, finished: bool = True) -> None:
    """Writes JSON and Markdown; prints the table. Unfinished: JSON only."""
    ms = {row.part: row.ms for row in rows}
    result |= {
        "frames_per_s": 1e3 * result["frames"] / ms[WHOLE],
        "sum_percent": 100 * ms[SUM] / ms[WHOLE],
        "crf_percent": 100 * ms[BOTH_CRF] / ms[WHOLE],
        "rows": [asdict(row) for row in rows],
    }
    lines = page(heading(result), markdown_table(HEADS, rows), notes(result))
    write_results(path, result, lines, finished=finished)


if __name__ == "__main__":
    sys.exit(main())
