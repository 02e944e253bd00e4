"""Checkpoints: one safetensors file with everything that is needed to load it."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from colocam.models.head import Pooling
from colocam.models.localizer import Localizer
from colocam.runtime.errors import UserError
from colocam.runtime.files import read_header, read_tensors, write_tensors

FORMAT, VERSION = "colocam", 2
KINDS = ("classifier", "localizer")


@dataclass(frozen=True)
class CheckpointInfo:
    """What stands beside the weights.

    Attributes:
        kind: "classifier" (the decoder is untrained and left out) or "localizer".
        encoder: backbone's name.
        classes: class names, in the order of the logits.
        size: side in pixels to which frames are resized before the forward pass.
        cam: activation map that made the seeds.
        cam_threshold, threshold: τ that was best on validation for the seed CAM's and for the
            localizer's boxes; None where there were no boxes.
        epoch: epoch after which it was written, counted from 0.
        scores: what was measured on validation then, in %.
        cam_layer: layer of the encoder that the activation map is taken at.
        pooling: how the head pools; taken from the model when it is saved.
    """

    kind: str
    encoder: str
    classes: tuple[str, ...]
    size: int
    cam: str
    epoch: int
    scores: dict[str, float]
    cam_threshold: float | None = None
    threshold: float | None = None
    cam_layer: str = "last"
    pooling: Pooling = "wgap"


def save_checkpoint(path: Path, model: Localizer, info: CheckpointInfo) -> None:
    """Writes the checkpoint: whole under its name, or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if info.kind == "localizer" or name.startswith(("encoder.", "head."))
    }
    entries = json.dumps(asdict(replace(info, pooling=model.head.pooling)))
    header = {"format": FORMAT, "version": str(VERSION), "info": entries}
    write_tensors(path, tensors, header)


def load_checkpoint(path: Path | str, kind: str | None = None) -> tuple[Localizer, CheckpointInfo]:
    """Reads a checkpoint: the model on the CPU in eval mode, and what stands beside it.

    Args:
        path: a file written by `save_checkpoint`.
        kind: the kind that is needed; None: any.

    Raises:
        UserError: missing, damaged, of another format, version, kind or architecture.
    """
    path = Path(path)
    # The header is looked at first: a file that was meant for something else is not damaged.
    _check_format(path, read_header(path))
    header, state = read_tensors(path)
    info = _read_info(path, header)
    if kind is not None and info.kind != kind:
        raise UserError(f"{path}: holds a {info.kind}, a {kind} is needed")
    return _build(path, info, state), info


def _check_format(path: Path, header: dict[str, str]) -> None:
    found = header.get("format", "")
    if found.startswith(f"{FORMAT}-"):
        raise UserError(
            f"{path}: is for --resume alone; give a checkpoint, as localizer-best.safetensors"
        )
    if found != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this package; give one that train.py wrote")
    version = header.get("version", "")
    if version != str(VERSION):
        raise UserError(
            f"{path}: format version {version!r}, this package reads {VERSION}; train anew, or use "
            "the version of the package that wrote it"
        )


def _read_info(path: Path, header: dict[str, str]) -> CheckpointInfo:
    try:
        values = json.loads(header["info"])
        info = CheckpointInfo(**{**values, "classes": tuple(values["classes"])})
        if info.kind not in KINDS:
            raise ValueError(f"kind {info.kind!r}")
        return info
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its header is damaged ({error})") from error


def _build(path: Path, info: CheckpointInfo, state: dict[str, torch.Tensor]) -> Localizer:
    try:
        model = Localizer(info.encoder, len(info.classes), pooling=info.pooling)
        parts = ("encoder.", "head.") if info.kind == "classifier" else ("",)
        wanted = {name for name in model.state_dict() if name.startswith(parts)}
        if wanted != set(state):
            raise RuntimeError(f"{len(wanted ^ set(state))} tensors differ")
        model.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, ValueError) as error:
        line = str(error).splitlines()[-1].strip()  # the first only says that some differ
        raise UserError(f"{path}: does not hold a {info.encoder} {info.kind} ({line})") from error
    return model.eval()
