"""Contact sheet of bench/real.py: the worst, the median and the best frames of a trained model."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from colocam.data.layouts.open import open_data
from colocam.models.checkpoint import load_checkpoint
from colocam.report.contact_sheet import contact_sheet
from colocam.report.examples import by_overlap, make_examples
from colocam.runtime.device import make_autocast, pick_device
from colocam.runtime.errors import UserError
from colocam.training.config import read_options

GROUP_SIZE = 8


def write_sheet(
    run: Path, data: Path, splits: Path, path: Path, shown: Sequence[str] | None = None
) -> None:
    """Writes the contact sheet: worst frames first, then median and best ones.

    The frames are those of the data set, whose licence may not allow to publish them.

    Args:
        run: run folder of the localizer.
        data: data folder.
        splits: folder of its split files.
        path: of the PNG.
        shown: classes whose frames are shown; None: all.

    Raises:
        UserError: no tested frame is of one of the classes.
    """
    device = pick_device("auto")
    model, info = load_checkpoint(run / "checkpoints" / "localizer-best.safetensors")
    model = model.to(device).to(memory_format=torch.channels_last)
    amp = read_options(run / "config.json")["amp"]
    examples_of = partial(
        make_examples, model, info, device=device, autocast=make_autocast(amp, device)
    )
    records = [
        record
        for record in open_data(data, splits, seed=0).test
        if shown is None or info.classes[record.label] in shown
    ]
    if not records:
        raise UserError(f"--show {' '.join(shown or ())}: no tested frame of it")
    examples = examples_of(records)
    readable = [record for record in records if record.id in examples]
    overlaps = [examples[record.id].overlaps() for record in readable]
    groups = by_overlap(readable, [one and one[1] for one in overlaps], GROUP_SIZE)
    chosen = [examples[one.id] for name in ("worst", "median", "best") for one in groups[name]]
    contact_sheet(chosen, path)
