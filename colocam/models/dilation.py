"""Networks whose strides are replaced by dilation: receptive field, and alignment of their maps.

A network at output stride 8 computes at cell k·i + r of a map what the original network computes
at cell i of its map, with k the ratio of the two sizes. r depends on the padding of the strided
layers: k − 1 where TensorFlow's "same" pads right and bottom, 0 where all sides are padded alike.
Cell i of the original map covers cells k·i … k·i + k − 1, and training on mirrored images centres
there what the cell responds to. The dilated map therefore shows content displaced by
r − (k − 1)/2 cells to the right and down: at 224×224, +12 pixels for EfficientNet-Lite0 and −12
for ResNet. An activation map of small objects misses them by that. With half of the dilation, the
deep layers' field and the displacement are half as large.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_SAME = 0.1  # relative difference of two maps that are the same computation


def displacements(dilated: Sequence[Tensor], original: Sequence[Tensor]) -> tuple[float, ...]:
    """Displacement of each map of a dilated network, in its cells, to the right and down.

    Args:
        dilated: maps of square frames, (B, C_k, H_k, H_k), of the dilated network.
        original: maps of the same frames and weights, (B, C_k, h_k, h_k), of the original one.

    Returns:
        One number per map; 0 for maps of equal size, and where no cells of the dilated map are
        those of the original one.
    """
    return tuple(map(_displacement, dilated, original))


def _displacement(dilated: Tensor, original: Tensor) -> float:
    side = original.shape[-1]
    ratio = dilated.shape[-1] // side
    if ratio < 2:
        return 0.0
    inner = slice(side // 4, side - side // 4)  # padding differs

    def difference(first: int) -> float:
        cells = dilated[..., first::ratio, first::ratio][..., :side, :side]
        wrong = (cells - original)[..., inner, inner].norm()
        centred = original - original.mean((-2, -1), keepdim=True)
        return (wrong / centred[..., inner, inner].norm()).item()

    differences = [difference(first) for first in range(ratio)]
    best = min(range(ratio), key=differences.__getitem__)
    return best - (ratio - 1) / 2 if differences[best] < _SAME else 0.0


def moved_back(features: Tensor, cells: float) -> Tensor:
    """Moves a map to the left and up by a number of cells; its border is repeated.

    Args:
        features: (B, C, H, W).
        cells: displacement of the content to the right and down; fractions interpolate linearly.

    Returns:
        (B, C, H, W), `features` itself for 0 cells.
    """
    if cells == 0:
        return features
    whole = math.floor(cells)
    fraction = cells - whole
    moved = features
    for dim in (-2, -1):
        near = _moved_by_whole_cells(moved, dim, whole)
        if fraction:
            near = torch.lerp(near, _moved_by_whole_cells(moved, dim, whole + 1), fraction)
        moved = near
    if features.is_contiguous(memory_format=torch.channels_last):
        moved = moved.contiguous(memory_format=torch.channels_last)
    return moved


def _moved_by_whole_cells(features: Tensor, dim: int, cells: int) -> Tensor:
    size = features.shape[dim]
    cells = max(1 - size, min(cells, size - 1))
    if cells == 0:
        return features
    kept = features.narrow(dim, max(cells, 0), size - abs(cells))
    border = features.narrow(dim, size - 1 if cells > 0 else 0, 1)
    repeated = border.repeat_interleave(abs(cells), dim)
    return torch.cat([kept, repeated] if cells > 0 else [repeated, kept], dim)


def halve_dilation(network: nn.Module) -> bool:
    """Halves the dilation of all convolutions, in place; maps keep their sizes.

    Returns:
        Whether there were any, and all could be halved; the network is unchanged if not.
    """
    dilated = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and max(layer.dilation) > 1
    ]
    halved = []
    for layer in dilated:
        padding = layer.padding  # a string, or (0, 0), where the layer pads by itself
        numbers = () if isinstance(padding, str) else padding
        if any(number % 2 for number in (*layer.dilation, *numbers)):
            return False
        halves = tuple(number // 2 for number in numbers)
        halved.append((tuple(number // 2 for number in layer.dilation), halves or padding))
    for layer, (dilation, padding) in zip(dilated, halved, strict=True):
        layer.dilation, layer.padding = dilation, padding
    return bool(dilated)
