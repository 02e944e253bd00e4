"""Gradients of class scores: closed form at the last feature map, autograd at any layer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from colocam.cam.formulas import Gradient

AVERAGES = ("wgap", "gap")  # poolings with derivative 1/(h·w) at every position
AT_ONCE = 64  # images × classes per backward pass: more takes memory and saves no time


class Head(Protocol):
    """Pooling head interface, as of `colocam.models.head.PoolingHead`."""

    @property
    def weight(self) -> Tensor:
        """(K, C)."""
        ...

    @property
    def pooling(self) -> str:
        """Name of the pooling; those in `AVERAGES` are averages."""
        ...

    def pooling_weights(self, features: Tensor, classes: Tensor) -> Tensor:
        """d score / d class map for features (B, C, h, w), classes (B, M): (B, M, h, w)."""
        ...


class Classifier(Protocol):
    """Model interface of the activation maps, as of `colocam.models.Localizer`."""

    @property
    def encoder(self) -> nn.Module:
        """Images (B, 3, H, W) to a list of feature maps, shallow to deep."""
        ...

    @property
    def head(self) -> Head:
        """Last feature map to class scores."""
        ...

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps to class scores (B, K) before softmax."""
        ...


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert to float32, or keep float64: bfloat16 is too coarse for the levels of a map."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def pooling_derivative(head: Head, features: Tensor, classes: Tensor) -> Tensor:
    """d score / d class map at each position of the last map (B, C, h, w), for classes (B, M).

    Returns:
        (B, M, h, w), or (1, 1, 1, 1) for average pooling, where it is constant.
    """
    if head.pooling in AVERAGES:
        positions = features.shape[2] * features.shape[3]
        return features.new_full((1, 1, 1, 1), 1 / positions)
    return head.pooling_weights(features, classes)


def weight_rows(head: Head, classes: Tensor) -> Tensor:
    """Weight rows of classes (B, M) as `Gradient.channel`: (B, M, C, 1, 1)."""
    return at_least_float32(head.weight.detach()[classes])[..., None, None]


class ScoreGradients:
    """∂(class score)/∂A by autograd, for a batch of images.

    The graph starts at A: no activations before the layer are stored, parameters may be frozen, and
    the caller may be in `no_grad` or `inference_mode`.

    Args:
        model: in eval mode, so that the scores of different images do not depend on each other.
        layer: module of the encoder whose output is A (the last output if it is called more than
            once, before later operations change it in place); None: the last feature map.
        images: (B, 3, H, W) normalized; may be None if features suffice.
        features: feature maps of these images, if already computed; used for `layer=None`.

    Attributes:
        activations: A, (B, C, h, w).

    Raises:
        ValueError: the layer's output is no map (B, C, h, w), or the scores do not depend on it.
    """

    def __init__(
        self,
        model: Classifier,
        layer: nn.Module | None,
        images: Tensor | None,
        features: Sequence[Tensor] | None = None,
    ) -> None:
        with torch.inference_mode(False):
            if layer is not None:
                assert images is not None, "features do not suffice at a layer"
                leaf, self.scores = _from_layer(model, layer, _normal_tensor(images))
            else:
                maps = features
                if maps is None:
                    assert images is not None, "images or features are needed"
                    with torch.no_grad():
                        maps = model.encoder(_normal_tensor(images))
                leaf = at_least_float32(_normal_tensor(maps[-1])).detach().requires_grad_()
                with torch.enable_grad():
                    self.scores = model.classify([*maps[:-1], leaf])
        self._leaf, self.activations = leaf, leaf.detach()

    def __call__(self, classes: Tensor) -> Tensor:
        """Gradients (B, M, C, h, w) of the scores of classes (B, M), in one backward pass.

        Scores of different images are independent, so that a column of classes takes one backward
        pass for the whole batch; several columns are batched in it.
        """
        several = classes.shape[1] > 1
        with torch.inference_mode(False):
            chosen = self.scores.new_zeros(classes.shape[1], *self.scores.shape)  # (M, B, K)
            chosen.scatter_(2, _normal_tensor(classes).T[..., None], 1)
            (gradient,) = torch.autograd.grad(
                self.scores,
                self._leaf,
                chosen if several else chosen[0],
                retain_graph=True,
                is_grads_batched=several,
            )
        return gradient.transpose(0, 1) if several else gradient[:, None]

    def columns(self, classes: Tensor) -> Sequence[Tensor]:
        """Split classes (B, M) into one part per backward pass."""
        return classes.split(max(1, AT_ONCE // len(classes)), dim=1)

    def dense(self, classes: Tensor) -> Tensor:
        """Gradients as of a call, in one backward pass per part of `columns`."""
        return torch.cat([self(part) for part in self.columns(classes)], dim=1)

    def apply(self, formula: Callable[[Tensor, Gradient], Tensor], classes: Tensor) -> Tensor:
        """Maps (B, M, h, w) of a formula; stores gradients of one part of `columns` at a time."""
        ones = self.activations.new_ones(1, 1, 1, 1)
        parts = [
            formula(self.activations, Gradient(self(part), ones)) for part in self.columns(classes)
        ]
        return torch.cat(parts, dim=1)


def _from_layer(model: Classifier, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """A as a leaf (B, C, h, w), and class scores (B, K) whose graph starts there."""
    held: list[Tensor] = []

    def begin_graph(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ValueError("layer: its output is no map (B, C, h, w); choose another")
        held[:] = [output.detach().requires_grad_()]
        torch.set_grad_enabled(True)
        return held[0].clone()  # later operations may change it in place

    handle = layer.register_forward_hook(begin_graph)
    try:
        with torch.no_grad():  # the hook enables gradients; leaving the context resets that
            # not by a call: a compiled encoder would skip the hook
            scores = model.classify(model.encoder.forward(images))
    finally:
        handle.remove()
    if not held or not scores.requires_grad:
        raise ValueError("layer: the class scores do not depend on it; choose another")
    return held[0], scores


def _normal_tensor(tensor: Tensor) -> Tensor:
    """Clone an inference tensor to one that autograd accepts."""
    return tensor.clone() if tensor.is_inference() else tensor
