"""Teacher of CLIP: gradient-weighted maps of a text, refined by attention.

The maps are those of CLIP-ES (Lin et al., "CLIP Is Also an Efficient Segmenter: A Text-Driven
Approach for Weakly Supervised Semantic Segmentation", CVPR 2023):

1. Prompts. A frame is compared with a text for every tag and for things of the background, so that
   the classes compete in a softmax.
2. GradCAM (Selvaraju et al., ICCV 2017) of the probability of the frame's tag, at the patch tokens
   that the last block's self-attention receives: later ones do not enter the class token.
3. Class-aware attention-based affinity. The attention of the last blocks, made symmetric and
   doubly stochastic, spreads the map within the boxes around its strong regions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from colocam.data.loading.frame_batches import frame_batches
from colocam.data.loading.prefetch import prefetched
from colocam.data.records import BoxedFrame
from colocam.runtime.device import to_device
from colocam.teachers.clip_model import ClipModel
from colocam.teachers.storing import MapBatch

PROMPTS = ("a clean origami {}.",)  # the best of CLIP-ES
BACKGROUND = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river"),
    *("sea", "railway", "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean"),
    *("road", "rock", "street", "valley", "bridge", "sign"),
)
ATTENTION_BLOCKS = 8  # the last ones, whose attention is averaged
REFINEMENTS = 2  # multiplications with the affinity
STRONG = 0.4  # share of the maximum from which a cell counts as strong


class ClipTeacher:
    """Maps of CLIP for the tag of a frame, at the resolution of its patches.

    The whole frame is resized to the square of the model, as frames are in training.

    Args:
        clip: the model.
        classes: tags, in the order of the labels.
        words: words of each tag, see `read_words`; features of several are averaged.
        prompts: texts with {} in the place of the words; their features are averaged.
        background: words of the background; those that are words of a tag are skipped.
        refine: whether to refine the maps by attention.
        device: of the computation.
        autocast: creates the context of mixed precision.
        batch_size: frames per forward pass.
    """

    def __init__(
        self,
        clip: ClipModel,
        classes: Sequence[str],
        words: Mapping[str, tuple[str, ...]],
        *,
        prompts: Sequence[str] = PROMPTS,
        background: Sequence[str] = BACKGROUND,
        refine: bool = True,
        device: torch.device,
        autocast: Callable[[], torch.autocast],
        batch_size: int = 16,
    ) -> None:
        self._clip, self._device, self._autocast = clip, device, autocast
        self._batch_size, self._refine = batch_size, refine
        self._words = {tag: [*words[tag]] for tag in classes}
        self._prompts = [*prompts]
        taken = {word.casefold() for of_tag in self._words.values() for word in of_tag}
        self._background = [word for word in background if word.casefold() not in taken]
        clip.model.to(device)
        subjects = [*self._words.values(), *([word] for word in self._background)]
        texts = [[p.replace("{}", word) for p in prompts for word in of] for of in subjects]
        self._texts = torch.stack([clip.text_feature(of, device) for of in texts])  # (K, D)
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None] for values in (clip.mean, clip.std)
        )

    def settings(self) -> Mapping[str, Any]:
        """See `Teacher.settings`."""
        return {
            "teacher": "clip",
            "model": self._clip.name,
            "size": self._clip.side,
            "words": self._words,
            "prompts": self._prompts,
            "background": self._background,
            "refinement": self._refine,
        }

    def batches(self, records: Sequence[BoxedFrame]) -> Iterator[MapBatch]:
        """See `Teacher.batches`."""
        for batch in prefetched(frame_batches(records, self._clip.side, self._batch_size)):
            maps: Sequence[NDArray[np.float32]] = ()
            if batch.records:
                labels = torch.tensor([record.label for record in batch.records])
                maps = [*self.maps(batch.images, labels)]
            yield MapBatch(batch.records, maps, batch.unreadable)

    def maps(self, images: Tensor, labels: Tensor) -> NDArray[np.float32]:
        """Maps of frames.

        Args:
            images: (B, 3, S, S) uint8, resized to the model's side.
            labels: (B,) tags.

        Returns:
            (B, h, w) in [0, 1], a value per patch; zeros where nothing speaks for the tag.
        """
        inputs = (to_device(images, self._device) / 255 - self._mean) / self._std
        with _Recorded(self._clip.model.visual) as recorded, torch.enable_grad():
            with self._autocast():
                features = self._clip.model.encode_image(inputs.float())
            direction = self._direction(features.detach(), labels.to(self._device))
            (gradient,) = torch.autograd.grad(features, recorded.tokens, direction)
        maps = gradient_weighted(recorded.tokens.detach(), gradient)
        if self._refine:
            maps = refined(maps, affinity(torch.stack(recorded.attention).mean(0)))
        return maps.float().cpu().numpy()

    def _direction(self, features: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the probability of each frame's tag by its features, of length 1: (B, D).

        Maps do not depend on its length, which may be too small for half precision.
        """
        variable = features.double().requires_grad_()
        unit = variable / variable.norm(dim=1, keepdim=True)
        logits = self._clip.model.logit_scale.exp().double() * unit @ self._texts.T
        # The logarithm changes the length alone, and where the probability is close to 1 not to 0.
        chosen = logits.log_softmax(1).gather(1, labels[:, None])
        (gradient,) = torch.autograd.grad(chosen.sum(), variable)
        length = gradient.norm(dim=1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
        return (gradient / length).to(features.dtype)


def gradient_weighted(tokens: Tensor, gradient: Tensor) -> Tensor:
    """GradCAM at the tokens of a vision transformer.

    Args:
        tokens: (B, 1 + h·w, D), the class token first.
        gradient: of the same shape.

    Returns:
        (B, h, w) in [0, 1], the maximum 1; zeros where no value is above 0. The grid is square.
    """
    patches, weights = tokens[:, 1:].float(), gradient[:, 1:].float().mean(1)
    maps = torch.einsum("bnd,bd->bn", patches, weights).relu()
    side = round(maps.shape[1] ** 0.5)
    return _normalized(maps).unflatten(1, (side, side))


def affinity(attention: Tensor, steps: int = 30) -> Tensor:
    """Symmetric affinity of patches from their attention.

    Args:
        attention: (B, N, N) positive.
        steps: of Sinkhorn's algorithm, which makes rows and columns sum to 1.

    Returns:
        (B, N, N).
    """
    values = attention.float()
    for _ in range(steps):
        values = values / values.sum(1, keepdim=True)
        values = values / values.sum(2, keepdim=True)
    return (values + values.transpose(1, 2)) / 2


def refined(maps: Tensor, affinities: Tensor) -> Tensor:
    """Spreads maps by affinity, within the boxes around their strong regions.

    Args:
        maps: (B, h, w) in [0, 1].
        affinities: (B, h·w, h·w).

    Returns:
        (B, h, w) in [0, 1], the maximum 1; zeros where a map is 0.
    """
    spread = maps.flatten(1)[..., None]
    for _ in range(REFINEMENTS):
        spread = affinities @ spread
    boxes = torch.from_numpy(np.stack([strong_boxes(one) for one in maps.cpu().numpy()]))
    return _normalized(spread[..., 0] * boxes.to(maps.device).flatten(1)).view_as(maps)


def strong_boxes(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Boxes around the connected regions of a map (h, w) from `STRONG` of its maximum: a mask."""
    strong = (values >= STRONG * values.max()) & (values > 0)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(strong.astype(np.uint8), connectivity=8)
    mask = np.zeros(values.shape, bool)
    for x, y, width, height, _ in boxes[1:]:  # the first is what is not strong
        mask[y : y + height, x : x + width] = True
    return mask


def _normalized(maps: Tensor) -> Tensor:
    """Maps (B, N) divided by their maximum."""
    return maps / maps.amax(1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


class _Recorded:
    """Context that records tokens and attention during a forward pass of a vision transformer.

    Attributes:
        tokens: (B, 1 + N, D) as the last block's self-attention receives them; the gradient is
            computed from there on alone.
        attention: of the last blocks, mean over heads: (B, N, N) each, without the class token.
    """

    tokens: Tensor

    def __init__(self, visual: Any) -> None:
        self._blocks = list(visual.transformer.resblocks)
        self.attention: list[Tensor] = []
        self._hooks = ExitStack()

    def __enter__(self) -> _Recorded:
        hooks = [self._blocks[-1].ln_1.register_forward_hook(self._record_tokens)]
        for block in self._blocks[-ATTENTION_BLOCKS:]:
            hooks.append(block.attn.register_forward_pre_hook(self._record_attention))
        for hook in hooks:
            self._hooks.callback(hook.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _record_tokens(self, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        self.tokens = output.detach().requires_grad_()
        return self.tokens

    @torch.no_grad()
    def _record_attention(self, attention: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(attention, nn.MultiheadAttention)
        # `forward` does not run this hook again, as a call would.
        _, weights = attention.forward(inputs[0], inputs[1], inputs[2])
        assert weights is not None
        self.attention.append(weights[:, 1:, 1:].float())
