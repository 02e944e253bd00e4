"""Floors: lower bounds on the time of the parts of a step of stage 2."""

from dataclasses import dataclass

import torch

from lib.crf.terms import least_bytes
from lib.roofline import count_flops
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

from colocam.models import Localizer
from colocam.training.config import Config

# Lower bound on bytes per pixel: float32 maps read and gradients written, 8 each; colours 3;
# labels 1.
LOSS_BYTES = {"pl": 17, "crf": least_bytes(1), "asc": 16, "coloc": least_bytes(1)}
LOSSES_BYTES = least_bytes(1) + 1
SEED_BYTES = 5  # a float32 read, a label written
OPTIMIZER_BYTES = 20  # per parameter: gradient, weight, momentum read, the last two written


@dataclass(frozen=True)
class Floor:
    """Lower bound on the time of a part.

    Attributes:
        ms: milliseconds.
        about: its operations or bytes.
    """

    ms: float
    about: str


def make_floors(
    config: Config, frames: int, itemsize: int, rate: float, bandwidth: float
) -> dict[str, Floor]:
    """Computes the floors of all parts that have one.

    Args:
        config: encoder and size.
        frames: in the batch.
        itemsize: bytes per element of the encoder's output.
        rate: FLOP/s of the device.
        bandwidth: bytes per second of the device.
    """
    with torch.device("meta"):  # shapes only: nothing is computed
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
    forward = count_flops(lambda: model.decode(features, size))
    both = count_flops(lambda: model.decode(features, size).sum().backward())
    with torch.no_grad():
        encoder = count_flops(lambda: model.encoder(images))
    return {ENCODER: encoder, DECODER: forward, BACKWARD: both - forward}


def _bytes_moved(model: Localizer, pixels: int, last_map: int) -> dict[str, int]:
    """Bytes of the parts bound by memory; `last_map` is the size of the last feature map."""
    parameters = sum(p.numel() for m in model.decoder_modules() for p in m.parameters())
    return {
        CAM: last_map + 4 * pixels,
        SEEDS: SEED_BYTES * pixels,
        LOSSES: LOSSES_BYTES * pixels,
        OPTIMIZER: OPTIMIZER_BYTES * parameters,
        **{f"{term} alone": LOSS_BYTES[term] * pixels for term in TERMS},
        BOTH_CRF: least_bytes(pixels),
    }
