"""The least time that the parts of a step of stage 2 can take."""

from dataclasses import dataclass

import torch

from colocam.models import Localizer
from colocam.training.config import Config
from lib.crf.terms import least_bytes
from lib.floor import flops_of
from lib.step.parts import (
    BACKWARD,
    BOTH_CRF,
    CAM,
    DECODER,
    ENCODER,
    LOSSES,
    OPTIMIZER,
    SEEDS,
    TERMS,
)

# Least bytes a pixel: float32 maps read and gradients written, 8 each; colours 3; labels 1.
LOSS_BYTES = {"pl": 17, "crf": least_bytes(1), "asc": 16, "coloc": least_bytes(1)}
LOSSES_BYTES = least_bytes(1) + 1
SEED_BYTES = 5  # a float32 read, a label written
OPTIMIZER_BYTES = 20  # a parameter: gradient, weight and momentum read, the last two written


@dataclass(frozen=True)
class Floor:
    """The least time of a part, and what of."""

    ms: float
    about: str


def make_floors(
    config: Config, frames: int, itemsize: int, rate: float, bandwidth: float
) -> dict[str, Floor]:
    """The least time of the parts that have one.

    Args:
        config: encoder and size.
        frames: in the batch.
        itemsize: bytes of a number that the encoder gives.
        rate: operations a second.
        bandwidth: bytes a second.
    """
    with torch.device("meta"):  # shapes without data: nothing is computed
        model = Localizer(config.encoder, 1)
        images = torch.empty(frames, 3, config.crop, config.crop)
    with torch.no_grad():
        features = model.encoder(images)
    flops = _operations(model, images, features)
    moved = _bytes_moved(model, frames * config.crop**2, itemsize * features[-1].numel())
    return {
        part: Floor(1e3 * count / rate, f"{count / 1e9:,.0f} GFLOP")
        for part, count in flops.items()
    } | {
        part: Floor(1e3 * count / bandwidth, f"{count / 1e6:,.1f} MB")
        for part, count in moved.items()
    }


def _operations(
    model: Localizer, images: torch.Tensor, features: list[torch.Tensor]
) -> dict[str, int]:
    size = images.shape[2:]
    forward = flops_of(lambda: model.decode(features, size))
    both = flops_of(lambda: model.decode(features, size).sum().backward())
    with torch.no_grad():
        encoder = flops_of(lambda: model.encoder(images))
    return {ENCODER: encoder, DECODER: forward, BACKWARD: both - forward}


def _bytes_moved(model: Localizer, pixels: int, last_map: int) -> dict[str, int]:
    """Where memory limits; `last_map` in bytes."""
    parameters = sum(p.numel() for m in model.decoder_modules() for p in m.parameters())
    return {
        CAM: last_map + 4 * pixels,
        SEEDS: SEED_BYTES * pixels,
        LOSSES: LOSSES_BYTES * pixels,
        OPTIMIZER: OPTIMIZER_BYTES * parameters,
        **{f"{term} alone": LOSS_BYTES[term] * pixels for term in TERMS},
        BOTH_CRF: least_bytes(pixels),
    }
