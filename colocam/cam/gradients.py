"""Gradients of class scores: in closed form at the last feature map, by autograd at any layer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from colocam.cam.formulas import Gradient

AVERAGES = ("wgap", "gap")  # poolings whose derivative is 1/(h·w) at every position
AT_ONCE = 64  # images × classes of one backward pass: more needs memory and gains no time


class PoolingHead(Protocol):
    """Interface of a classification head (`colocam.models.head`).

    Attributes:
        weight: (K, C) rows of the linear layer.
        pooling: name of the spatial pooling.
    """

    @property
    def weight(self) -> Tensor: ...

    @property
    def pooling(self) -> str: ...

    def pooling_weights(self, features: Tensor, classes: Tensor) -> Tensor:
        """Derivative of the pooling: features (B, C, h, w), classes (B, M) to (B, M, h, w)."""
        ...


class Classifier(Protocol):
    """Interface that activation maps need of a model, as `colocam.models.Localizer` has it.

    Attributes:
        encoder: images (B, 3, H, W) to a list of feature maps, shallow to deep.
        head: spatial pooling and linear layer.
    """

    @property
    def encoder(self) -> nn.Module: ...

    @property
    def head(self) -> PoolingHead: ...

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps to class scores (B, K) before softmax."""
        ...


def precise(tensor: Tensor) -> Tensor:
    """Converts to at least float32: bfloat16 has too few levels for a map."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def pooling_places(head: PoolingHead, features: Tensor, classes: Tensor) -> Tensor:
    """d score / d class map at each position of the last map (B, C, h, w), for classes (B, M).

    Returns:
        (B, M, h, w), or (1, 1, 1, 1) where it is the same at every position of every image.
    """
    if head.pooling in AVERAGES:
        places = features.shape[2] * features.shape[3]
        return features.new_full((1, 1, 1, 1), 1 / places)
    return head.pooling_weights(features, classes)


def weight_rows(head: PoolingHead, classes: Tensor) -> Tensor:
    """The head's weight rows of classes (B, M), as a `Gradient.channel` (B, M, C, 1, 1)."""
    return precise(head.weight.detach()[classes])[..., None, None]


class ScoreGradients:
    """∂(class score)/∂A by autograd, for a batch of images.

    The graph starts at A: nothing before the layer is stored, parameters may be frozen, and the
    caller may be in `no_grad` or `inference_mode`.

    Args:
        model: in eval mode, so that the scores of different images do not depend on each other.
        layer: the module of the encoder whose output is A (its last one if it is called more than
            once, before anything changes it in place); None: the last feature map.
        images: (B, 3, H, W) normalized.
        features: the encoder's maps of these images, if they are there; used for `layer=None`.

    Attributes:
        activations: A, (B, C, h, w).

    Raises:
        ValueError: the layer gives no map (B, C, h, w), or the scores do not depend on it.
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
                if images is None:
                    raise ValueError("images: needed for maps of an inner layer")
                leaf, self.scores = _from_layer(model, layer, _ordinary(images))
            else:
                with torch.no_grad():
                    maps = _feature_maps(model, images, features)
                leaf = precise(_ordinary(maps[-1])).detach().requires_grad_()
                with torch.enable_grad():
                    self.scores = model.classify([*maps[:-1], leaf])
        self._leaf, self.activations = leaf, leaf.detach()

    def __call__(self, classes: Tensor) -> Tensor:
        """Classes (B, M) to their scores' gradients (B, M, C, h, w): one backward pass.

        Scores of different images do not depend on each other: a column of classes is one
        backward for the whole batch, and several columns are batched in it.
        """
        several = classes.shape[1] > 1
        with torch.inference_mode(False):
            chosen = self.scores.new_zeros(classes.shape[1], *self.scores.shape)  # (M, B, K)
            chosen.scatter_(2, _ordinary(classes).T[..., None], 1)
            (gradient,) = torch.autograd.grad(
                self.scores,
                self._leaf,
                chosen if several else chosen[0],
                retain_graph=True,
                is_grads_batched=several,
            )
        return gradient.transpose(0, 1) if several else gradient[:, None]

    def columns(self, classes: Tensor) -> Sequence[Tensor]:
        """Splits classes (B, M) into what one backward pass should take."""
        return classes.split(max(1, AT_ONCE // len(classes)), dim=1)

    def dense(self, classes: Tensor) -> Tensor:
        """As a call, in one backward pass for each part of `columns`."""
        return torch.cat([self(part) for part in self.columns(classes)], dim=1)

    def apply(self, formula: Callable[[Tensor, Gradient], Tensor], classes: Tensor) -> Tensor:
        """Maps (B, M, h, w) of a formula; the gradients of all classes are never held at once."""
        everywhere = self.activations.new_ones(1, 1, 1, 1)
        parts = [
            formula(self.activations, Gradient(self(part), everywhere))
            for part in self.columns(classes)
        ]
        return torch.cat(parts, dim=1)


def _feature_maps(
    model: Classifier, images: Tensor | None, features: Sequence[Tensor] | None
) -> Sequence[Tensor]:
    """The given feature maps, or those of the images."""
    if features is not None:
        return features
    if images is None:
        raise ValueError("images: needed where no features are given")
    return model.encoder(_ordinary(images))


def _from_layer(model: Classifier, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """A as a leaf (B, C, h, w), and class scores (B, K) with a graph that begins there."""
    held: list[Tensor] = []

    def begin_graph(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ValueError("layer: its output is no map (B, C, h, w); name another")
        held[:] = [output.detach().requires_grad_()]
        torch.set_grad_enabled(True)
        return held[0].clone()  # what follows may write into it

    handle = layer.register_forward_hook(begin_graph)
    try:
        with torch.no_grad():  # until the layer; what the hook sets ends here
            # not by a call: an encoder that was compiled would pass the hook by
            scores = model.classify(model.encoder.forward(images))
    finally:
        handle.remove()
    if not held or not scores.requires_grad:
        raise ValueError("layer: the class scores do not depend on it; name another")
    return held[0], scores


def _ordinary(tensor: Tensor) -> Tensor:
    """A tensor that autograd takes, for one made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
