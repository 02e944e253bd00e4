"""Pretrained weights of an encoder: torchvision's ImageNet weights, a file, or none."""

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from colocam.models.base import Encoder
from colocam.models.encoders import ENCODERS
from colocam.runtime.errors import UserError

Weights = Literal["imagenet", "none"] | str | Path | None


def load_weights(encoder: Encoder, name: str, weights: Weights) -> None:
    """Loads pretrained weights into an encoder, in place.

    Args:
        encoder: to load into.
        name: its name in `ENCODERS`.
        weights: "imagenet", the path of a torchvision state dict, or None or "none": random.

    Raises:
        UserError: the download fails, or the file is missing, damaged or of another architecture.
    """
    if weights is None or weights == "none":
        return
    state = _imagenet(name) if weights == "imagenet" else _from_file(Path(weights))
    try:
        encoder.load_backbone(state)
    except RuntimeError as error:
        raise UserError(
            f"--weights {weights}: not those of a {name}; give a torchvision {name} state dict"
        ) from error


def _imagenet(name: str) -> dict[str, Tensor]:
    try:
        # The hash detects an incomplete download.
        return ENCODERS[name][1].get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # network, disk, hash, damaged file in torch's cache
        raise UserError(
            f"--weights imagenet: the ImageNet weights of {name} cannot be downloaded "
            f"({_reason(error)}); give --weights FILE (a torchvision state dict) or --weights none"
        ) from error


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"--weights {path}: no such file; give imagenet, none or a file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise KeyError, AssertionError, struct.error, …
        raise UserError(
            f"--weights {path}: cannot be read ({_reason(error)}); give a torchvision state dict"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"--weights {path}: holds no state dict; give a torchvision state dict")
    return state


def _reason(error: Exception) -> str:
    """Returns the first line of an error's message, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]
