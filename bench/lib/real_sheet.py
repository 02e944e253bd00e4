"""Contact sheet of bench/real.py: the worst, the median and the best frames of a trained model."""

from functools import partial
from pathlib import Path

import torch

from colocam.data.layouts.open import open_data
from colocam.models.checkpoint import load_checkpoint
from colocam.report.contact_sheet import contact_sheet
from colocam.report.examples import by_overlap, make_examples
from colocam.runtime.device import make_autocast, pick_device

GROUP_SIZE = 8


def write_sheet(run: Path, data: Path, splits: Path, path: Path) -> None:
    """Writes the contact sheet: worst frames first, then median and best ones.

    The frames are those of the data set, whose licence may not allow to publish them.

    Args:
        run: run folder of the localizer.
        data: data folder.
        splits: folder of its split files.
        path: of the PNG.
    """
    device = pick_device("auto")
    model, info = load_checkpoint(run / "checkpoints" / "localizer-best.safetensors")
    model = model.to(device).to(memory_format=torch.channels_last)
    examples_of = partial(
        make_examples, model, info, device=device, autocast=make_autocast("auto", device)
    )
    records = open_data(data, splits, seed=0).test
    examples = examples_of(records)
    shown = [record for record in records if record.id in examples]
    overlaps = [examples[record.id].overlaps() for record in shown]
    groups = by_overlap(shown, [one and one[1] for one in overlaps], GROUP_SIZE)
    chosen = [examples[one.id] for name in ("worst", "median", "best") for one in groups[name]]
    contact_sheet(chosen, path)
