"""Frames per second of a localizer on the CPU: in colocam, in PyTorch alone, in ONNX Runtime.

    python bench/localize/exported.py --ckpt FILE --video FILE

Rows compute score maps and class probabilities of the same 8-bit frames, resizing included, one at
a time and in batches. Exported files compute in float32; colocam is measured so, and as it runs by
default. Outputs are compared before they are timed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for lib

from lib.arguments import add_json, add_seconds, check_at_least, check_seconds, make_parser
from lib.machine import Machine, OtherProcesses, describe, disturbance_note, file_name_of, headline
from lib.markdown_table import markdown_table, page
from lib.result_files import result_path, write_results
from lib.timing import time_on_cpu

from colocam.data.decoding.open import open_video
from colocam.localization.export import export
from colocam.localization.inference import VideoLocalizer
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

Run = Callable[[np.ndarray], np.ndarray]
"""(N, H, W, 3) uint8 frames → (N, S, S) score maps."""


@dataclass(frozen=True)
class Row:
    """Frames per second of one way to run a localizer.

    Attributes:
        name: of the way.
        single: one frame at a time.
        batched: in batches.
        largest: difference of a score map from colocam's in float32.
    """

    name: str
    single: float
    batched: float
    largest: float


HEADS = {
    "name": "",
    "single": "one frame",
    "batched": "batches",
    "largest": "largest difference of a map",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, metavar="FILE", help="checkpoint of a localizer")
    add("--video", type=Path, required=True, metavar="FILE", help="whose first frames are used")
    add("--batch-size", type=int, default=4, metavar="N", help="(default: 4)")
    add_seconds(parser, 5.0, "each row")
    add_json(parser, "exported-PROCESSOR")
    options = parser.parse_args(argv)
    check_at_least(options, batch_size=1)
    check_seconds(options)
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()  # first: it includes the load before this run
    runs, localizer = _load(options.ckpt)
    path = result_path(options.json, f"exported-{file_name_of(machine, 'cpu')}")
    source = open_video(options.video, str(options.video), [])
    read = source.read(range(min(options.batch_size, len(source))))
    decoded = [frame for frame in read if frame is not None]
    if not decoded:
        raise UserError(f"{options.video}: its first frames cannot be decoded")
    frames = np.stack(decoded)
    others = OtherProcesses()
    rows = _measure(runs, frames, options.seconds)
    size = f"{frames.shape[2]}×{frames.shape[1]}"
    _write(path, rows, (localizer, size, len(frames)), machine, others.percent())


def _measure(runs: dict[str, Run], frames: np.ndarray, seconds: float) -> list[Row]:
    expected = runs["colocam, float32"](frames)
    rows = []
    for name, run in runs.items():
        largest = float(np.abs(run(frames) - expected).max())
        single, batched = (_rate(run, some, seconds) for some in (frames[:1], frames))
        rows.append(Row(name, single, batched, largest))
    return rows


def _rate(run: Run, frames: np.ndarray, seconds: float) -> float:
    return 1e3 * len(frames) / time_on_cpu(lambda: lambda: run(frames), seconds).median


def _load(ckpt: Path) -> tuple[dict[str, Run], VideoLocalizer]:
    """All ways to run a checkpoint, and its localizer."""
    default, float32 = VideoLocalizer(ckpt, "cpu"), VideoLocalizer(ckpt, "cpu", "off")
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / f"localizer.{kind}" for kind in ("pt2", "onnx")}
        export(ckpt, files["pt2"], "pt2")
        export(ckpt, files["onnx"], "onnx")
        program = torch.export.load(files["pt2"]).module()
        session = _session(files["onnx"])
    return {
        "colocam": lambda frames: default.infer(list(frames))[1],
        "colocam, float32": lambda frames: float32.infer(list(frames))[1],
        "torch.export (.pt2)": lambda frames: _run_program(program, frames),
        "ONNX Runtime (.onnx)": lambda frames: session.run(["maps"], {"frames": frames})[0],
    }, default


def _run_program(program: Callable[..., Any], frames: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        maps: np.ndarray = program(torch.from_numpy(frames))[0].numpy()
    return maps


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("needs the package onnxruntime; pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _write(
    path: Path,
    rows: Sequence[Row],
    of: tuple[VideoLocalizer, str, int],
    machine: Machine,
    others: float | None,
) -> None:
    localizer, size, batch = of
    side = localizer.info.size
    heading = (
        f"Frames per second of an exported localizer: {localizer.info.encoder} at {side}×{side}, "
        f"frames of {size}, batches of {batch}, {torch.get_num_threads()} threads; "
        f"{headline(machine, 'cpu')}."
    )
    result = {
        "machine": machine,
        "encoder": localizer.info.encoder,
        "side": side,
        "frame_size": size,
        "batch_size": batch,
        "others_cpu_percent": others,
        "rows": [asdict(row) for row in rows],
    }
    notes = disturbance_note(others)
    write_results(path, result, page(heading, markdown_table(HEADS, rows), notes))


if __name__ == "__main__":
    sys.exit(main())
