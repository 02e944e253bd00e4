"""Export of a localizer to one file that runs without colocam: torch.export or ONNX."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Literal

import torch

from colocam.evaluation.boxes import threshold_or_default
from colocam.localization.exported import ExportedLocalizer
from colocam.models.checkpoint import CheckpointInfo, load_checkpoint
from colocam.runtime.errors import UserError, WriteError
from colocam.runtime.files import atomic_file

Format = Literal["pt2", "onnx"]
METADATA = "colocam.json"  # name of the extra file, and key of ONNX's metadata
EXAMPLE = (2, 120, 150, 3)  # of frames; batch and both sides are dynamic


def export(ckpt: Path, out: Path, kind: Format) -> None:
    """Writes a localizer to one file; the write is atomic.

    Its input is `frames` (N, H, W, 3) uint8 RGB of any size, its outputs are `maps` (N, S, S) and
    `probabilities` (N, K), float32. It carries `metadata_of` the checkpoint.

    Args:
        ckpt: checkpoint of a localizer.
        out: file to write.
        kind: "pt2" (`torch.export.save`) or "onnx".

    Raises:
        UserError: the checkpoint cannot be used, its encoder cannot be exported, a package is
            missing, or the file cannot be written.
    """
    if kind == "onnx":
        _require_onnx()
    model, info = load_checkpoint(ckpt, "localizer")
    network = ExportedLocalizer(model.eval().requires_grad_(False), info.size).eval()
    metadata = json.dumps(metadata_of(info), ensure_ascii=False)
    with _quiet():
        try:
            program = _program(network, kind)
        except Exception as error:  # what the exporters raise depends on the operation
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"{ckpt}: the encoder {info.encoder} cannot be exported to {kind} ({reason})"
            ) from error
        with atomic_file(out) as unfinished:
            try:
                if kind == "pt2":
                    torch.export.save(program, unfinished, extra_files={METADATA: metadata})
                else:
                    program.model.metadata_props[METADATA] = metadata
                    program.save(unfinished)
            except RuntimeError as error:  # of torch's zip writer, on a full disk
                raise WriteError(f"{out}: cannot be written ({error})") from error


def metadata_of(info: CheckpointInfo) -> dict[str, Any]:
    """What boxes and classes need beside the network.

    Returns:
        "classes", in the order of the probabilities; "size" S; "threshold" τ of the boxes; and
        "encoder".
    """
    return {
        "classes": list(info.classes),
        "size": info.size,
        "threshold": threshold_or_default(info.threshold),
        "encoder": info.encoder,
    }


def _program(network: ExportedLocalizer, kind: Format) -> Any:
    frames = torch.zeros(EXAMPLE, dtype=torch.uint8)
    dynamic = {"frames": dict.fromkeys(range(3), torch.export.Dim.AUTO)}
    if kind == "pt2":
        return torch.export.export(network, (frames,), dynamic_shapes=dynamic)
    return torch.onnx.export(
        network, (frames,), dynamo=True, dynamic_shapes=dynamic, input_names=["frames"],
        output_names=["maps", "probabilities"], verbose=False,
    )  # fmt: skip


def _require_onnx() -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            '--format onnx: needs the packages onnx and onnxscript; pip install "colocam[onnx]"'
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Context without the exporters' warnings and dumps, which are about their own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
