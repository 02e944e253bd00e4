"""How large every backbone's model is, and what one frame costs (CoLo-CAM paper, Table 4).

    python bench/models.py [--json FILE]

Parameters, and floating-point operations of a forward pass, of the classifier (encoder and head),
of the decoder (with its last convolution), and of both: 10 classes, one frame of 224×224. Counted
are convolutions and matrix products, two operations a multiply-accumulate (MAC). Nothing is
computed: the models have shapes but no data.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from colocam.models import Localizer
from colocam.models.encoders import ENCODERS
from colocam.runtime.entry import CommandParser, exit_status
from lib.floor import flops_of
from lib.machine import describe
from lib.result_files import result_path, write_results

CLASSES, SIDE = 10, 224


@dataclass(frozen=True)
class Row:
    """One model. None: not published.

    Attributes:
        model: backbone's name, and whose count it is.
        classifier_mparams, decoder_mparams, total_mparams: parameters, 10^6.
        classifier_gflops, decoder_gflops, total_gflops: operations a frame, 10^9.
        classifier_gmacs, decoder_gmacs, total_gmacs: multiply-accumulates a frame, 10^9.
    """

    model: str
    classifier_mparams: float
    decoder_mparams: float
    total_mparams: float
    classifier_gflops: float
    decoder_gflops: float | None
    total_gflops: float
    classifier_gmacs: float
    decoder_gmacs: float | None
    total_gmacs: float


# Table 4, by calflops, whose FLOPs hold normalizations and activations too.
PUBLISHED = Row(
    "resnet50, published", 23.5, 9.0, 32.5, 38.23, None, 55.49, 19.07, None, 27.70,
)  # fmt: skip
PARTS, UNITS = ("classifier", "decoder", "all"), ("M params", "GFLOPs", "GMACs")
HEADS = ("model", *(f"{part} {unit}" for unit in UNITS for part in PARTS))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="a table goes beside it as .md (default: bench/results/models.json)",
    )  # fmt: skip
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> None:
    path, machine = result_path(options.json, "models"), describe()
    rows = [count(encoder) for encoder in ENCODERS]
    lines = [
        f"{CLASSES} classes, one frame of {SIDE}×{SIDE}; convolutions and matrix products, "
        f"1 MAC = 2 FLOPs; torch {machine['torch']}, torchvision {machine['torchvision']}.",
        "",
        *markdown_table([*rows, PUBLISHED]),
    ]
    result = {
        "machine": machine,
        "classes": CLASSES,
        "size": SIDE,
        "rows": [asdict(row) for row in rows],
        "published": asdict(PUBLISHED),
    }
    write_results(path, result, lines)


def count(encoder: str) -> Row:
    """Counts one backbone's model."""
    with torch.device("meta"):
        model = Localizer(encoder, CLASSES).eval()
        frame = torch.empty(1, 3, SIDE, SIDE)
    features = model.encoder(frame)
    macs = [
        flops_of(lambda: model.classify(model.encoder(frame))) // 2,
        flops_of(lambda: model.decode(features, (SIDE, SIDE))) // 2,
    ]
    sizes = [_parameters(model.classifier_modules()), _parameters(model.decoder_modules())]
    mparams = [size / 1e6 for size in (*sizes, sum(sizes))]
    gmacs = [count / 1e9 for count in (*macs, sum(macs))]
    return Row(encoder, *mparams, *(2 * value for value in gmacs), *gmacs)


def _parameters(modules: Iterable[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """A Markdown table, a line each."""
    names = [field.name for field in fields(Row)][1:]
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for row in rows:
        values = [getattr(row, name) for name in names]
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        lines.append(f"| {row.model} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
