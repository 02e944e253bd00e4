"""Stored maps: writes a model's maps, one file per frame, as seeds for another model."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import TimeRemainingColumn

from colocam.data.loading.frame_batches import frame_batches
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.records import BoxedFrame, Shot
from colocam.evaluation.evaluate import run_model, seed_cam_of
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.runtime.console import progress_bar
from colocam.runtime.device import to_device
from colocam.runtime.messages import print_unreadable


def frames_of(shots: Sequence[Shot]) -> Iterator[BoxedFrame]:
    """Yields every frame of training shots as a record without boxes."""
    for shot in shots:
        for index in range(len(shot.frames)):
            name = f"{shot.id} frame {index}"
            yield BoxedFrame(name, shot.label, shot.video, shot.frames, index, ())


def store_maps(
    model: Localizer,
    info: CheckpointInfo,
    records: Sequence[BoxedFrame],
    folder: Path,
    *,
    device: torch.device,
    autocast: Callable[[], torch.autocast],
    console: Console,
    batch_size: int = 32,
) -> None:
    """Writes the score map S¹ of each frame; for a classifier, the CAM of the frame's class.

    Args:
        model: on `device`, in eval mode.
        info: of the model's checkpoint.
        records: frames; their labels select the CAM.
        folder: output folder; its layout is that of `colocam.data.loading.seed_maps`.
        device: of the computation.
        autocast: creates the context of mixed precision.
        console: shows the progress.
        batch_size: frames per forward pass.

    Raises:
        UserError: the folder cannot be written.
    """
    decode, stored = info.kind == "localizer", SeedMaps(folder)
    generator = torch.Generator(device).manual_seed(0)
    cam = None if decode else seed_cam_of(model, info, generator)
    unreadable: list[str] = []
    with progress_bar(console, TimeRemainingColumn()) as progress:
        bar = progress.add_task("storing maps", total=len(records))
        for batch in frame_batches(records, info.size, batch_size):
            unreadable += batch.unreadable
            if batch.records:
                labels = to_device(torch.tensor([record.label for record in batch.records]), device)
                with autocast():
                    outputs = run_model(model, to_device(batch.images, device), labels, cam, decode)
                maps = outputs.scores if decode else outputs.cams
                assert maps is not None
                for record, values in zip(batch.records, maps, strict=True):
                    stored.write(record.frames, record.index, values)
            progress.advance(bar, len(batch.records) + len(batch.unreadable))
    print_unreadable(console, unreadable)
    console.print(f"{folder}: {len(records) - len(unreadable)} maps")
