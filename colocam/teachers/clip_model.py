"""CLIP models of open_clip (extra `clip`): creation, weights, and features of texts."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colocam.runtime.errors import UserError

_SCHEMAS = "hf-hub:", "local-dir:"  # of open_clip: models that are not built in, with weights


@dataclass(frozen=True)
class ClipModel:
    """CLIP with a vision transformer, in eval mode, without gradients of its weights.

    Attributes:
        model: of open_clip.
        tokenizer: texts to tokens.
        name: of the model and its weights.
        side: of the input images, pixels.
        mean, std: of the input images' channels, which are in [0, 1].
    """

    model: Any
    tokenizer: Any
    name: str
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @torch.no_grad()
    def text_feature(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """Mean of the normalized features of texts, normalized: (D,) float64."""
        features = self.model.encode_text(self.tokenizer(list(texts)).to(device), normalize=True)
        mean = features.double().mean(0)
        return mean / mean.norm()


def load_clip(name: str, weights: Path | None, side: int | None) -> ClipModel:
    """Creates a CLIP model.

    Args:
        name: MODEL/PRETRAINED or MODEL:PRETRAINED, names of open_clip, or its hf-hub:… and
            local-dir:…; with `weights`, MODEL is enough.
        weights: file of the weights instead of a download; PRETRAINED, if given, determines
            normalization and activation.
        side: of the input images, pixels, a multiple of the patch size; position embeddings are
            interpolated. None: that of the model.

    Raises:
        UserError: open_clip is not installed, the model or its weights are unknown, damaged or
            cannot be downloaded, or the model has no supported vision transformer.
    """
    open_clip = _import_open_clip(name)
    option = f"--teacher clip:{name}"
    architecture, pretrained = _parts(name)
    if weights is not None and not weights.is_file():
        raise UserError(f"--weights {weights}: no such file; give the weights of {architecture}")
    arguments: dict[str, Any] = {}
    if not architecture.startswith(_SCHEMAS):
        arguments = _built_in(open_clip, option, architecture, pretrained, weights)
    elif weights is not None:
        raise UserError(f"--weights {weights}: {architecture} has its own weights; omit one")
    try:
        with _quiet():
            model = open_clip.create_model(architecture, force_image_size=side, **arguments)
            tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # network, disk, damaged or other weights
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        if weights is not None:
            raise UserError(
                f"--weights {weights}: not the weights of {architecture} ({reason})"
            ) from error
        raise UserError(
            f"{option}: cannot be loaded ({reason}); without a connection, give the weights as "
            "--weights FILE"
        ) from error
    return prepared(model, tokenizer, name if weights is None else f"{name} {_digest(weights)}")


def prepared(model: nn.Module, tokenizer: Any, name: str) -> ClipModel:
    """Checks a model of open_clip, and freezes it.

    Raises:
        UserError: its images are not square, or it has no vision transformer with a class token
            and self-attention of torch.
    """
    visual: Any = getattr(model, "visual", None)
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", ())
    attentions = [getattr(block, "attn", None) for block in blocks]
    supported = all(
        isinstance(one, nn.MultiheadAttention) and one.batch_first for one in attentions
    )
    if not attentions or not supported or getattr(visual, "attn_pool", 0) is not None:
        raise UserError(
            f"--teacher clip:{name}: needs a vision transformer of CLIP's kind, such as "
            "ViT-B-16/openai"
        )
    height, width = visual.image_size
    if height != width or height % visual.patch_size[0]:
        raise UserError(
            f"--teacher clip:{name}: has images of {width}×{height} pixels; they must be square, "
            f"and --size a multiple of {visual.patch_size[0]}"
        )
    config = getattr(visual, "preprocess_cfg", {})
    mean, std = (
        tuple(config.get(key) or default)
        for key, default in (
            ("mean", (0.48145466, 0.4578275, 0.40821073)),  # of CLIP's training images
            ("std", (0.26862954, 0.26130258, 0.27577711)),
        )
    )
    return ClipModel(model.eval().requires_grad_(False), tokenizer, name, height, mean, std)


@contextmanager
def _quiet() -> Iterator[None]:
    """Context without warnings and log lines: what they say is in the error, too."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _import_open_clip(name: str) -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise UserError(
            f"--teacher clip:{name}: needs open_clip; pip install 'colocam[clip]'"
        ) from error
    return open_clip


def _parts(name: str) -> tuple[str, str]:
    """Model, and tag of its weights or ""."""
    if name.startswith(_SCHEMAS):
        return name, ""
    sign = ":" if ":" in name else "/"
    architecture, _, pretrained = name.partition(sign)
    return architecture, pretrained


def _built_in(
    open_clip: Any, option: str, architecture: str, pretrained: str, weights: Path | None
) -> dict[str, Any]:
    """Arguments of a model that open_clip knows by name."""
    if architecture not in open_clip.list_models():
        some = ", ".join(m for m in open_clip.list_models() if m in ("ViT-B-16", "ViT-L-14"))
        raise UserError(
            f"{option}: open_clip has no model {architecture!r}; it has {some} and more"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained and pretrained not in tags:
        raise UserError(
            f"{option}: {architecture} has no weights {pretrained!r}; it has {', '.join(tags)}"
        )
    if not pretrained and weights is None:
        raise UserError(
            f"{option}: name its weights, as in clip:{architecture}/{(tags or ['TAG'])[0]}, or "
            "give them as --weights FILE"
        )
    config = open_clip.get_pretrained_cfg(architecture, pretrained) if pretrained else {}
    quick = {"force_quick_gelu": True} if config.get("quick_gelu") else {}
    normalization = {key: config[key] for key in ("mean", "std") if config.get(key)}
    return {
        "pretrained": pretrained if weights is None else str(weights),
        "force_preprocess_cfg": normalization,
        **quick,
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
