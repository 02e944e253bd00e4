"""Parameters and operations of the model of every backbone (CoLo-CAM paper, Table 4).

    python bench/models.py [--json FILE]

Reported for the classifier (encoder and head), the decoder (with its last convolution) and both:
parameters, and floating-point operations of a forward pass with 10 classes and one frame of
224×224. Counted are convolutions and matrix products, two operations per multiply-accumulate (MAC).
The models are on the device "meta": nothing is computed.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass

import torch
from torch import nn

from lib.arguments import add_json, make_parser
from lib.machine import describe
from lib.markdown_table import table_of_cells
from lib.result_files import result_path, write_results
from lib.roofline import count_flops

from colocam.models import Localizer
from colocam.models.encoders import ENCODERS
from colocam.runtime.entry import exit_status

CLASSES, SIDE = 10, 224


@dataclass(frozen=True)
class Row:
    """One model. None: not published.

    Attributes:
        model: name of the backbone, and "published" for the paper's.
        classifier_mparams, decoder_mparams, total_mparams: parameters, 10^6.
        classifier_gflops, decoder_gflops, total_gflops: operations per frame, 10^9.
        classifier_gmacs, decoder_gmacs, total_gmacs: multiply-accumulates per frame, 10^9.
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


# Table 4, counted by calflops, which includes normalizations and activations in FLOPs.
PUBLISHED = Row(
    "resnet50, published", 23.5, 9.0, 32.5, 38.23, None, 55.49, 19.07, None, 27.70,
)  # fmt: skip
PARTS, UNITS = ("classifier", "decoder", "all"), ("M params", "GFLOPs", "GMACs")
HEADS = ("model", *(f"{part} {unit}" for unit in UNITS for part in PARTS))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_json(parser, "models")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> None:
    path, machine = result_path(options.json, "models"), describe()
    rows = [count(encoder) for encoder in ENCODERS]
    heading = (
        f"{CLASSES} classes, one frame of {SIDE}×{SIDE}; convolutions and matrix products, "
        f"1 MAC = 2 FLOPs; torch {machine['torch']}, torchvision {machine['torchvision']}."
    )
    result = {
        "machine": machine,
        "classes": CLASSES,
        "size": SIDE,
        "rows": [asdict(row) for row in rows],
        "published": asdict(PUBLISHED),
    }
    write_results(path, result, [heading, "", *table([*rows, PUBLISHED])])


def count(encoder: str) -> Row:
    """Counts parameters and operations of the model of one backbone."""
    with torch.device("meta"):
        model = Localizer(encoder, CLASSES).eval()
        frame = torch.empty(1, 3, SIDE, SIDE)
    features = model.encoder(frame)
    macs = [
        count_flops(lambda: model.classify(model.encoder(frame))) // 2,
        count_flops(lambda: model.decode(features, (SIDE, SIDE))) // 2,
    ]
    sizes = [_parameters(model.classifier_modules()), _parameters(model.decoder_modules())]
    mparams = [size / 1e6 for size in (*sizes, sum(sizes))]
    gmacs = [count / 1e9 for count in (*macs, sum(macs))]
    return Row(encoder, *mparams, *(2 * value for value in gmacs), *gmacs)


def _parameters(modules: Iterable[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def table(rows: Iterable[Row]) -> list[str]:
    """Markdown table, with two decimals."""
    cells = []
    for row in rows:
        _, *values = astuple(row)
        cells.append([row.model, *("" if value is None else f"{value:.2f}" for value in values)])
    return table_of_cells(HEADS, cells)


if __name__ == "__main__":
    sys.exit(main())
