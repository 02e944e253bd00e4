"""Checkpoints: a safetensors file with weights, architecture, class names and preprocessing."""

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
STATISTICS = ("mean", "std")  # of the pixels, see `Encoder`


@dataclass(frozen=True)
class CheckpointInfo:
    """Header of a checkpoint.

    Attributes:
        kind: "classifier" (without the decoder, which is untrained) or "localizer".
        encoder: name of the encoder.
        classes: class names, in the order of the logits.
        size: side in pixels to which frames are resized before the forward pass.
        cam: activation map that the seeds were drawn from.
        epoch: epoch after which it was written, counted from 0.
        scores: scores on validation after this epoch, in %.
        cam_threshold: threshold τ of the seed CAM's boxes, the best on validation; None without
            boxes.
        threshold: the same for the localizer's boxes.
        cam_layer: layer of the encoder at which the activation map is computed.
        pooling: pooling of the head; set from the model when it is saved.
        centre_threshold: threshold τ of the boxes around the centre, the best on validation.
        split: stored split of the run by part, see `colocam.data.layouts.stored_split`; None in
            files of earlier versions.
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
    centre_threshold: float | None = None
    split: dict[str, dict[str, str]] | None = None


_OUTSIDE = ("centre_threshold", "split")
"""Entries with a place of their own in the header: earlier versions, which refuse unknown entries
of `info`, ignore them there."""


def save_checkpoint(path: Path, model: Localizer, info: CheckpointInfo) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: of the file.
        model: whose weights are written; of a classifier only encoder and head.
        info: header.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if info.kind == "localizer" or name.startswith(("encoder.", "head."))
    }
    entries = asdict(replace(info, pooling=model.head.pooling))
    outside = {name: json.dumps(entries.pop(name)) for name in _OUTSIDE}
    normalization = {name: getattr(model.encoder, name).flatten().tolist() for name in STATISTICS}
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "info": json.dumps(entries),
        "normalization": json.dumps(normalization),
        **outside,
    }
    write_tensors(path, tensors, header)


def load_checkpoint(path: Path | str, kind: str | None = None) -> tuple[Localizer, CheckpointInfo]:
    """Reads a checkpoint.

    Args:
        path: a file written by `save_checkpoint`.
        kind: required kind; None: any.

    Returns:
        the model, on the CPU in eval mode, and the header.

    Raises:
        UserError: missing, damaged, of another format, version, kind or architecture.
    """
    path = Path(path)
    # Before the digest: a file of another format is not reported as damaged.
    _check_format(path, read_header(path))
    header, state = read_tensors(path)
    info, normalization = _read_info(path, header), _read_normalization(path, header)
    if kind is not None and info.kind != kind:
        raise UserError(f"{path}: holds a {info.kind}, a {kind} is needed")
    model = _build(path, info, state)
    if normalization is not None:
        model.encoder.set_normalization(*normalization)
    return model, info


def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """Reads the header of a checkpoint; the digest of the file is not checked.

    Raises:
        UserError: missing, damaged, or of another format or version.
    """
    header = read_header(path)
    _check_format(path, header)
    return _read_info(path, header)


def _check_format(path: Path, header: dict[str, str]) -> None:
    found = header.get("format", "")
    if found.startswith(f"{FORMAT}-"):
        raise UserError(
            f"{path}: is a training state for --resume; give a checkpoint such as "
            "localizer-best.safetensors"
        )
    if found != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this package; give one that train.py wrote")
    version = header.get("version", "")
    if version != str(VERSION):
        raise UserError(
            f"{path}: format version {version!r}, this package reads {VERSION}; train again, or "
            "use the version of the package that wrote it"
        )


def _read_info(path: Path, header: dict[str, str]) -> CheckpointInfo:
    try:
        values = json.loads(header["info"])
        values |= {name: json.loads(header.get(name, "null")) for name in _OUTSIDE}
        info = CheckpointInfo(**{**values, "classes": tuple(values["classes"])})
        if info.kind not in KINDS:
            raise ValueError(f"kind {info.kind!r}")
        return info
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its header is damaged ({error})") from error


def _read_normalization(path: Path, header: dict[str, str]) -> list[list[float]] | None:
    """Mean and standard deviation; None in files of earlier versions: the encoder's own."""
    if "normalization" not in header:
        return None
    try:
        values = json.loads(header["normalization"])
        statistics = [[float(value) for value in values[name]] for name in STATISTICS]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its header is damaged ({error})") from error
    if any(len(three) != 3 for three in statistics):
        raise UserError(f"{path}: its header is damaged (not three channels)")
    return statistics


def _build(path: Path, info: CheckpointInfo, state: dict[str, torch.Tensor]) -> Localizer:
    try:
        model = Localizer(info.encoder, len(info.classes), pooling=info.pooling)
        parts = ("encoder.", "head.") if info.kind == "classifier" else ("",)
        expected = {name for name in model.state_dict() if name.startswith(parts)}
        if expected != set(state):
            raise RuntimeError(f"{len(expected ^ set(state))} tensors differ")
        model.load_state_dict(state, strict=False)
    except UserError as error:  # of an encoder from timm
        raise UserError(f"{path}: {error}") from error
    except (RuntimeError, TypeError, ValueError) as error:
        line = str(error).splitlines()[-1].strip()  # the first line names no tensor
        raise UserError(f"{path}: does not hold a {info.encoder} {info.kind} ({line})") from error
    return model.eval()
