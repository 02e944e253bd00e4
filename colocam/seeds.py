"""Seeds: pixel pseudo-labels sampled from normalized CAMs, in batches, on the CAMs' device.

Seeds are (B, H, W) uint8: `BACKGROUND`, `FOREGROUND`, or `IGNORED`.
"""

import math
from typing import Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colocam.kernels.seeds import choice

BACKGROUND, FOREGROUND, IGNORED = 0, 1, 255
Scheme = Literal["published", "text"]
Region = Literal["none", "all", "largest", "densest"]
_LEVELS = 256


def otsu_level(cams: Tensor) -> Tensor:
    """Otsu's threshold of each map: pixels with a level above it are foreground.

    The first level that maximizes the between-class variance (Otsu 1979). Sums are integers, so
    that levels without pixels tie exactly on every device.

    Args:
        cams: (B, H, W) float in [0, 1]; quantized to 256 levels by truncation of 255·cam.

    Returns:
        (B,) integers 0…255; 255 where all pixels have the same level (no foreground).
    """
    levels = quantized(cams).flatten(1)  # (B, P)
    counts = torch.zeros(len(cams), _LEVELS, device=cams.device, dtype=torch.long)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    below = counts.cumsum(1)  # (B, 256) number of pixels at or below a level
    sum_below = (counts * torch.arange(_LEVELS, device=cams.device)).cumsum(1)  # of their levels
    pixels, total = below[:, -1:], sum_below[:, -1:]
    # P⁴ times the between-class variance, which is 0 where one class is empty.
    between = (total * below - pixels * sum_below).double() ** 2 / (
        (below * (pixels - below)).clamp(min=1).double()
    )
    return torch.where(between.amax(1) > 0, between.argmax(1), _LEVELS - 1)


def quantized(cams: Tensor) -> Tensor:
    """Quantize maps in [0, 1] to integer levels 0…255 by truncation of 255·cam."""
    return (cams * (_LEVELS - 1)).long().clamp(0, _LEVELS - 1)


def foreground_region(cams: Tensor) -> Tensor:
    """Mask of pixels above Otsu's threshold: (B, H, W) bool; all False for a constant map."""
    return quantized(cams) > otsu_level(cams)[:, None, None]


def connected_regions(mask: Tensor) -> Tensor:
    """Label the 4-connected regions of each mask.

    Uses OpenCV on the CPU, and a Triton kernel on a GPU.

    Args:
        mask: (B, H, W) bool.

    Returns:
        (B, H, W) integers: the flat index within the batch of the first pixel of each pixel's
        region; B·H·W outside the mask.
    """
    if mask.is_cuda:
        from colocam.kernels.seeds import sampling_triton

        return sampling_triton.connected_regions(mask)
    regions = torch.full(mask.shape, mask.numel())
    for number, of_image in enumerate(mask.numpy()):
        count, labels = cv2.connectedComponents(of_image.view(np.uint8), connectivity=4)
        first = np.empty(count, np.int64)
        # Repeated indices keep the last value: in reverse order, the first pixel of each label.
        first[labels.ravel()[::-1]] = np.arange(labels.size - 1, -1, -1) + number * labels.size
        regions[number][mask[number]] = torch.from_numpy(first[labels])[mask[number]]
    return regions


def largest_region(mask: Tensor) -> Tensor:
    """Largest 4-connected region of each mask (B, H, W) bool; the first one of equal regions."""
    labels = choice.labels_in_image(connected_regions(mask))
    return _with_label(labels, choice.largest_label(labels), mask)


def densest_region(mask: Tensor, cams: Tensor, least_share: float = 0.05) -> Tensor:
    """4-connected region with the largest mean CAM among those of at least `least_share`.

    If every region is smaller, the largest. The first one of equal regions.

    Args:
        mask: (B, H, W) bool.
        cams: (B, H, W) float in [0, 1].
        least_share: smallest area of a region, as a share of the image.

    Returns:
        (B, H, W) bool, within `mask`; empty for an empty mask.
    """
    labels = choice.labels_in_image(connected_regions(mask))
    return _with_label(labels, choice.densest_label(labels, cams, least_share), mask)


def _with_label(labels: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Pixels of the mask with a label (B,) per image: (B, H, W) bool."""
    return (labels == label[:, None]).view(mask.shape) & mask


def bounding_box(mask: Tensor) -> Tensor:
    """Fill the bounding box of each mask: (B, H, W) bool; an empty mask remains empty."""

    def span(line: Tensor) -> Tensor:  # (B, N) bool: True from the first to the last True
        return (line.cumsum(1) > 0) & (line.flip(1).cumsum(1).flip(1) > 0)

    return span(mask.any(2))[:, :, None] & span(mask.any(1))[:, None, :]


def region_of_interest(
    above: Tensor, cams: Tensor, region: Region = "largest", box: bool = True
) -> Tensor:
    """Region of interest, in which the published scheme samples foreground.

    Args:
        above: (B, H, W) bool, the pixels above Otsu's threshold (`foreground_region`).
        cams: (B, H, W) float in [0, 1].
        region: "none": the whole frame; "all": all pixels above the threshold; "largest": their
            largest 4-connected region; "densest": the region with the largest mean CAM among those
            of at least 5 % of the image, or the largest if all are smaller.
        box: whether to return the bounding box of the region; for "all" one box around all parts
            (the papers do not specify this).

    Returns:
        (B, H, W) bool; empty where `above` is empty, except for "none".

    Raises:
        ValueError: unknown region.
    """
    if region not in get_args(Region):
        raise ValueError(f"region: unknown {region!r}; known: {', '.join(get_args(Region))}")
    if region == "none":
        return torch.ones_like(above)
    if region == "largest":
        above = largest_region(above)
    elif region == "densest":
        above = densest_region(above, cams)
    return bounding_box(above) if box else above


def sample_seeds(
    cams: Tensor,
    scheme: Scheme = "published",
    pixels: int = 1000,
    foreground_share: float = 0.7,
    background_share: float = 0.1,
    generator: torch.Generator | None = None,
    region: Region = "largest",
    box: bool = True,
) -> Tensor:
    """Sample seeds from a batch of CAMs.

    "text" (CoLo-CAM, Sec. 3): one foreground pixel above Otsu's threshold, sampled with the CAM as
    weights; one background pixel, sampled uniformly from the other pixels.

    "published" (as in published training): `pixels` foreground pixels, sampled without replacement
    with the CAM as weights from the strongest `foreground_share` of a region of interest (see
    `region_of_interest`; CoLo-CAM uses the bounding box of the largest 4-connected region above
    Otsu's threshold); `pixels` background pixels, sampled uniformly from the weakest
    `background_share` of the frame. Each set is dilated by a 3×3 square; pixels in both are
    dropped.

    Args:
        cams: (B, H, W) float in [0, 1].
        scheme: "published" or "text".
        pixels: number of pixels per class and frame in "published".
        foreground_share: strongest share of the region of interest, in (0, 1].
        background_share: weakest share of the frame, in (0, 1].
        generator: random generator on the device of `cams`; None: torch's default.
        region: region of interest in "published", see `region_of_interest`.
        box: whether to use the bounding box of the region.

    Returns:
        (B, H, W) uint8 seeds; all `IGNORED` for a constant CAM.

    Raises:
        ValueError: unknown scheme, or unknown region in "published".
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"scheme: unknown {scheme!r}; known: {', '.join(get_args(Scheme))}")
    if scheme == "published" and region not in get_args(Region):
        raise ValueError(f"region: unknown {region!r}; known: {', '.join(get_args(Region))}")
    cams = cams.float()
    noise = torch.rand((2, *cams.shape), device=cams.device, generator=generator)
    settings = scheme, pixels, foreground_share, background_share, region, box
    if cams.is_cuda:
        from colocam.kernels.seeds.sampling_triton import seeds_from_noise as on_gpu

        return on_gpu(cams, noise, *settings)
    return seeds_from_noise(cams, noise, *settings)


def seeds_from_noise(
    cams: Tensor,
    noise: Tensor,
    scheme: Scheme,
    pixels: int,
    foreground_share: float,
    background_share: float,
    region: Region,
    box: bool,
) -> Tensor:
    """`sample_seeds` in tensor operations, with uniform noise (2, B, H, W) in [0, 1)."""
    above = foreground_region(cams)
    if scheme == "text":
        foreground = _drawn(above, cams, 1, noise[0])
        background = _drawn(~above, None, 1, noise[1])
    else:
        interest = region_of_interest(above, cams, region, box)
        strongest = strongest_share(cams, interest, foreground_share)
        weakest = weakest_share(cams, background_share)
        foreground = _dilated(_drawn(strongest, cams, pixels, noise[0]))
        background = _dilated(_drawn(weakest, None, pixels, noise[1]))
    usable = above.any(2).any(1)[:, None, None]  # a constant CAM has no foreground
    seeds = torch.full(cams.shape, IGNORED, dtype=torch.uint8, device=cams.device)
    seeds.masked_fill_(foreground & ~background & usable, FOREGROUND)
    return seeds.masked_fill_(background & ~foreground & usable, BACKGROUND)


def strongest_share(scores: Tensor, mask: Tensor, share: float) -> Tensor:
    """Select the ⌈share · n⌉ largest scores of the n pixels in each mask, ties included.

    Args:
        scores: (B, H, W) float.
        mask: (B, H, W) bool.
        share: in (0, 1].

    Returns:
        (B, H, W) bool, within `mask`.
    """
    ranked = scores.masked_fill(~mask, -torch.inf).flatten(1).sort(1, descending=True).values
    count = (mask.flatten(1).sum(1) * share).ceil().long().clamp(min=1)
    last = ranked.gather(1, count[:, None] - 1)[..., None]  # (B, 1, 1)
    return mask & (scores >= last)


def weakest_share(scores: Tensor, share: float) -> Tensor:
    """Select the ⌈share · n⌉ smallest scores of the n pixels of each map, ties included.

    Args:
        scores: (B, H, W) float.
        share: in (0, 1].

    Returns:
        (B, H, W) bool.
    """
    flat = scores.flatten(1)
    count = max(1, math.ceil(flat.shape[1] * share))
    last = flat.kthvalue(count, dim=1).values[:, None, None]  # one count for all: no sort
    return scores <= last


def _drawn(mask: Tensor, weights: Tensor | None, count: int, noise: Tensor) -> Tensor:
    """Sample `count` pixels of each mask without replacement, or all if it has fewer.

    The pixels with the largest w / E, E exponentially distributed, are a weighted sample without
    replacement (Efraimidis and Spirakis 2006). Uniform if `weights` is None; pixels of weight 0
    are never sampled. Pixels that tie with the last one are included: two of them, at times, as
    noise has 2²⁴ values.
    """
    tiny = torch.finfo(noise.dtype).tiny
    keys = -1 / torch.log(noise.clamp(tiny, 1 - 1e-7))
    if weights is not None:
        mask = mask & (weights > 0)
        keys = keys * weights
    keys = keys.masked_fill(~mask, -1.0)
    flat = keys.flatten(1)
    last = flat.topk(min(count, flat.shape[1]), dim=1).values[:, -1]
    return mask & (keys >= last[:, None, None])


def _dilated(mask: Tensor) -> Tensor:
    """Dilate each mask by a 3×3 square."""
    return F.max_pool2d(mask[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
