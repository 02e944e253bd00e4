"""Class activation maps by method name: in closed form at the last feature map, or at a layer."""

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from colocam.cam import formulas
from colocam.cam.formulas import Formula, Gradient
from colocam.cam.gradients import (
    AVERAGES,
    Classifier,
    ScoreGradients,
    at_least_float32,
    pooling_derivative,
    weight_rows,
)

Method = Literal["cam", "gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam"]
FORMULAS: dict[str, Formula] = {
    "cam": formulas.cam,
    "gradcam": formulas.gradcam,
    "gradcam++": formulas.gradcam_plus_plus,
    "smoothgradcam++": formulas.gradcam_plus_plus,  # with averaged gradients
    "xgradcam": formulas.xgradcam,
    "layercam": formulas.layercam,
}
LAST = "last"


class ActivationMap:
    """Class activation maps at a layer, for a batch of images.

    Definitions are those of `colocam.cam.formulas`. At the last feature map the gradient of a class
    score is its weight row times the derivative of the pooling, without a backward pass. With
    average pooling (the default), "gradcam" and "xgradcam" are then both ReLU of "cam" up to a
    factor, and "smoothgradcam++" equals "gradcam++", since the gradient is independent of noise.

    Args:
        model: encoder and head, in eval mode; `colocam.models.Localizer` is one.
        method: "cam", "gradcam", "gradcam++", "smoothgradcam++", "xgradcam" or "layercam".
        layer: dotted name of a submodule of the encoder ("layer3", "layer3.1.conv2"); None or
            "last": the last feature map. "cam" is defined only there.
        samples: number of noisy images of Smooth-GradCAM++.
        noise: standard deviation of the noise, in units of the normalized images (0.3 is about 7 %
            of their range). The paper specifies neither; defaults as in TorchCAM.
        generator: random generator of the noise, on the images' device; None: torch's default.
        autograd: whether to compute gradients by autograd at the last feature map too.

    Raises:
        ValueError: unknown method or layer, "cam" at another layer than the last, fewer than one
            sample, or negative noise.
    """

    def __init__(
        self,
        model: Classifier,
        method: str = "layercam",
        layer: str | None = None,
        *,
        samples: int = 4,
        noise: float = 0.3,
        generator: torch.Generator | None = None,
        autograd: bool = False,
    ) -> None:
        if method not in get_args(Method):
            raise ValueError(f"method: unknown {method!r}; known: {', '.join(get_args(Method))}")
        modules = dict(model.encoder.named_modules())
        if layer not in (None, LAST) and (layer == "" or layer not in modules):
            known = ", ".join([LAST, *(name for name, _ in model.encoder.named_children())])
            raise ValueError(f"layer: unknown {layer!r}; known: {known} and their submodules")
        at_last = layer in (None, LAST)
        if method == "cam" and not at_last:
            raise ValueError(
                f"method 'cam' is defined at the last feature map only, not at layer {layer!r}; "
                f"choose layer {LAST!r} or another method"
            )
        if samples < 1 or noise < 0:
            raise ValueError(f"samples, noise: {samples}, {noise}; they must be at least 1 and 0")
        self.model, self.method = model, method
        self.module = None if layer is None or at_last else modules[layer]
        self.samples, self.noise, self.generator = samples, noise, generator
        self.autograd = (autograd and method != "cam") or not at_last

    @property
    def needs_images(self) -> bool:
        """Whether images are needed, and not only the encoder's features."""
        return self.module is not None or self._needs_noise

    @property
    def _needs_noise(self) -> bool:
        """Whether noisy images are encoded: average pooling has gradients independent of noise."""
        averages = self.model.head.pooling in AVERAGES
        return self.method == "smoothgradcam++" and (self.autograd or not averages)

    def from_features(self, features: Sequence[Tensor], classes: Tensor) -> Tensor:
        """Maps at the last feature map, without a forward pass of the encoder.

        Args:
            features: feature maps of the encoder, shallow to deep; the last is (B, C, h, w).
            classes: (B,) or (B, M) integers 0…K−1, on the device of the features.

        Returns:
            (B, h, w) or (B, M, h, w), float32, not normalized; a map scales with the class score.

        Raises:
            ValueError: images are needed, classes do not match the batch, or classes are out of
                range (checked on the CPU only; on a GPU this would synchronize).
        """
        if self.needs_images:
            raise ValueError(
                f"method {self.method!r} at this layer needs the images, not features alone"
            )
        return self._maps(None, classes, features)

    def __call__(
        self, images: Tensor, classes: Tensor, features: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Maps at the layer.

        Args:
            images: (B, 3, H, W) normalized, on the model's device.
            classes: (B,) or (B, M) integers 0…K−1.
            features: feature maps of these images, if already computed; saves a forward pass at
                the last feature map, ignored at other layers.

        Returns:
            As of `from_features`, with the layer's height and width.

        Raises:
            ValueError: classes do not match the batch or are out of range (checked on the CPU
                only), or the layer's output is no map on which the scores depend.
        """
        return self._maps(images, classes, features)

    @torch.no_grad()
    def _maps(
        self, images: Tensor | None, classes: Tensor, features: Sequence[Tensor] | None
    ) -> Tensor:
        batch = images
        if batch is None:
            assert features is not None, "images or features are needed"
            batch = features[-1]
        columns = self._columns(classes, len(batch))
        with torch.autocast(batch.device.type, enabled=False):
            images = None if images is None else at_least_float32(images)
            compute = self._by_autograd if self.autograd else self._in_closed_form
            maps = compute(images, columns, features)
        return maps if classes.ndim == 2 else maps[:, 0]

    def _in_closed_form(
        self, images: Tensor | None, classes: Tensor, features: Sequence[Tensor] | None
    ) -> Tensor:
        model = self.model
        last = at_least_float32((model.encoder(images) if features is None else features)[-1])
        rows, curvature = weight_rows(model.head, classes), None
        if self._needs_noise:
            # g is weight row × spatial factor: only the spatial factor depends on the noise.
            spatial, curvature = formulas.moments(
                pooling_derivative(model.head, at_least_float32(model.encoder(noisy)[-1]), classes)
                for noisy in self._noisy(images)
            )
        else:
            spatial = pooling_derivative(model.head, last, classes)
        formula = FORMULAS[self.method]
        if formula is formulas.gradcam_plus_plus and spatial.numel() > 1:
            return _class_by_class(last, rows, spatial, curvature)
        return formula(last, Gradient(rows, spatial))

    def _by_autograd(
        self, images: Tensor | None, classes: Tensor, features: Sequence[Tensor] | None
    ) -> Tensor:
        clean = ScoreGradients(self.model, self.module, images, features)
        if not self._needs_noise:
            return clean.apply(FORMULAS[self.method], classes)
        slope, curvature = formulas.moments(
            ScoreGradients(self.model, self.module, noisy).dense(classes)
            for noisy in self._noisy(images)
        )
        ones = slope.new_ones(1, 1, 1, 1)
        return formulas.gradcam_plus_plus(
            clean.activations, Gradient(slope, ones), Gradient(curvature, ones)
        )

    def _noisy(self, images: Tensor | None) -> Iterator[Tensor]:
        assert images is not None, "noise is added to images"
        for _ in range(self.samples):
            normal = torch.empty_like(images).normal_(generator=self.generator)
            yield images + self.noise * normal

    def _columns(self, classes: Tensor, batch: int) -> Tensor:
        """Classes as (B, M)."""
        if classes.ndim not in (1, 2) or len(classes) != batch:
            raise ValueError(
                f"classes: {tuple(classes.shape)} does not fit {batch} images; pass (B,) or (B, M)"
            )
        count = self.model.head.weight.shape[0]
        if classes.device.type == "cpu" and classes.numel():
            low, high = int(classes.min()), int(classes.max())
            if low < 0 or high >= count:
                wrong = low if low < 0 else high
                raise ValueError(f"classes: unknown index {wrong}; known: 0 to {count - 1}")
        return classes.long().view(batch, -1)


def _class_by_class(
    activations: Tensor, rows: Tensor, spatial: Tensor, curvature: Tensor | None
) -> Tensor:
    """GradCAM++ of classes (B, M), one class at a time, as it multiplies out (B, C, h, w)."""
    parts = []
    for m in range(rows.shape[1]):
        one = slice(m, m + 1)
        third = None if curvature is None else Gradient(rows[:, one], curvature[:, one])
        gradient = Gradient(rows[:, one], spatial[:, one])
        parts.append(formulas.gradcam_plus_plus(activations, gradient, third))
    return torch.cat(parts, dim=1)
