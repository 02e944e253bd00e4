"""Pseudo-labels (seeds) from normalized CAMs: whole batches at once, on the device of the CAMs.

Seeds are (B, H, W) uint8: `BACKGROUND`, `FOREGROUND`, or `IGNORED`.
"""

import math
from typing import Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

BACKGROUND, FOREGROUND, IGNORED = 0, 1, 255
Region = Literal["none", "all", "largest", "densest"]
_LEVELS = 256


def otsu_level(cams: Tensor) -> Tensor:
    """Otsu's threshold of each map: pixels whose level is above it are foreground.

    The first level that maximizes the variance between the two sides (Otsu 1979). Sums are whole
    numbers, so that levels without pixels tie exactly on every device.

    Args:
        cams: (B, H, W) float in [0, 1]; quantized to 256 levels by truncation of 255·cam.

    Returns:
        (B,) integers 0…255; 255 where all pixels have one level: nothing is above it.
    """
    levels = quantized(cams).flatten(1)  # (B, P)
    counts = torch.zeros(len(cams), _LEVELS, device=cams.device, dtype=torch.long)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    below = counts.cumsum(1)  # (B, 256) pixels at or below a level
    sum_below = (counts * torch.arange(_LEVELS, device=cams.device)).cumsum(1)  # of their levels
    pixels, total = below[:, -1:], sum_below[:, -1:]
    # P⁴ times the variance between the sides, which is 0 where one side is empty.
    between = (total * below - pixels * sum_below).double() ** 2 / (
        (below * (pixels - below)).clamp(min=1).double()
    )
    return torch.where(between.amax(1) > 0, between.argmax(1), _LEVELS - 1)


def quantized(cams: Tensor) -> Tensor:
    """Maps in [0, 1] to integer levels 0…255 by truncation of 255·cam."""
    return (cams * (_LEVELS - 1)).long().clamp(0, _LEVELS - 1)


def foreground_region(cams: Tensor) -> Tensor:
    """Pixels above Otsu's threshold: (B, H, W) bool; all False where a map is constant."""
    return quantized(cams) > otsu_level(cams)[:, None, None]


def connected_regions(mask: Tensor) -> Tensor:
    """Labels the 4-connected regions of each mask.

    By OpenCV on a CPU, by `regions_by_hooking` elsewhere.

    Args:
        mask: (B, H, W) bool.

    Returns:
        (B, H, W) integers: the index (within the batch) of the first pixel of the pixel's
        region; B·H·W outside the mask.
    """
    if mask.device.type != "cpu":
        return regions_by_hooking(mask)
    regions = torch.full(mask.shape, mask.numel())
    for number, of_image in enumerate(mask.numpy()):
        count, labels = cv2.connectedComponents(of_image.view(np.uint8), connectivity=4)
        first = np.empty(count, np.int64)
        # The last one written stays: from the end, that is the first pixel of each label.
        first[labels.ravel()[::-1]] = np.arange(labels.size - 1, -1, -1) + number * labels.size
        regions[number][mask[number]] = torch.from_numpy(first[labels])[mask[number]]
    return regions


def regions_by_hooking(mask: Tensor, rounds: int | None = None) -> Tensor:
    """What `connected_regions` gives, whole batches at once and without waiting for the device.

    Each round hooks every pixel's parent to the smallest grandparent beside it and shortens all
    paths (min-label hooking with pointer jumping, as in FastSV, Zhang et al. 2020).

    Args:
        mask: (B, H, W) bool.
        rounds: how many; None: 2·log₂(H·W). Spirals, combs, mazes and masks bred to be slow need
            a quarter of them, at any size: 7 of 32 at 224×224.
    """
    if rounds is None:
        rounds = 2 * max(1, (mask.shape[1] * mask.shape[2]).bit_length())
    total = mask.numel()
    index = torch.arange(total, device=mask.device).view(mask.shape)
    parent = torch.where(mask, index, total).flatten()
    parent = torch.cat([parent, parent.new_full((1,), total)])  # (B·H·W + 1,) a forest
    for _ in range(rounds):
        grand = parent[parent]
        beside = _smallest_beside(grand[:-1].view(mask.shape), mask, total).flatten()
        # hook the roots; who has nothing to say names itself, as atomics on one root would queue
        hooks = torch.where(beside < grand[:-1], parent[:-1], index.flatten())
        parent = parent.scatter_reduce(0, hooks, beside, "amin")
        parent[:-1] = torch.minimum(parent[:-1], beside)
        parent = torch.minimum(parent, parent[parent])
        parent = parent[parent]
    return parent[:-1].view(mask.shape)


def _smallest_beside(labels: Tensor, mask: Tensor, outside: int) -> Tensor:
    """The smallest label among a pixel and its four neighbours; `outside` off the mask."""
    best = labels.clone()
    best[:, 1:] = torch.minimum(best[:, 1:], labels[:, :-1])
    best[:, :-1] = torch.minimum(best[:, :-1], labels[:, 1:])
    best[:, :, 1:] = torch.minimum(best[:, :, 1:], labels[:, :, :-1])
    best[:, :, :-1] = torch.minimum(best[:, :, :-1], labels[:, :, 1:])
    return torch.where(mask, best, outside)


def largest_region(mask: Tensor) -> Tensor:
    """The largest 4-connected region of each mask (B, H, W) bool; the first of equals."""
    labels = _region_labels(mask)
    return _named(labels, _sums(labels).argmax(1), mask)


def densest_region(mask: Tensor, cams: Tensor, least_share: float = 0.05) -> Tensor:
    """The 4-connected region with the largest mean CAM among those that are not too small.

    Where every region is too small, the largest. The first of equals. Sums are whole numbers, as
    in `otsu_level`.

    Args:
        mask: (B, H, W) bool.
        cams: (B, H, W) float in [0, 1].
        least_share: share of the image that a region must have.

    Returns:
        (B, H, W) bool, within `mask`; empty where the mask is.
    """
    labels = _region_labels(mask)
    sizes = _sums(labels)  # (B, P) of the region that begins at a pixel; 0 where none does
    weights = (cams.float() * 2**20).round().long().flatten(1)
    mean = _sums(labels, weights) / sizes.clamp(min=1).double()
    large = (sizes > 0) & (sizes.double() / labels.shape[1] >= least_share)
    densest = mean.masked_fill(~large, -torch.inf).argmax(1)
    return _named(labels, torch.where(large.any(1), densest, sizes.argmax(1)), mask)


def _region_labels(mask: Tensor) -> Tensor:
    """(B, P) index of the first pixel of the pixel's region, within its image; P off the mask."""
    labels = connected_regions(mask).flatten(1)
    batch, pixels = labels.shape
    first = torch.arange(batch, device=mask.device)[:, None] * pixels
    return torch.where(mask.flatten(1), labels - first, pixels)


def _sums(labels: Tensor, values: Tensor | None = None) -> Tensor:
    """Sum of whole numbers (None: ones) over the pixels of each label 0…P−1: (B, P)."""
    values = torch.ones_like(labels) if values is None else values
    sums = F.pad(torch.zeros_like(labels), (0, 1))  # the last one gathers what is off the mask
    return sums.scatter_add_(1, labels, values)[:, :-1]


def _named(labels: Tensor, name: Tensor, mask: Tensor) -> Tensor:
    """The pixels of each image's label `name` (B,), within the mask: (B, H, W) bool."""
    return (labels == name[:, None]).view(mask.shape) & mask


def bounding_box(mask: Tensor) -> Tensor:
    """The mask of each mask's bounding box: (B, H, W) bool; empty stays empty."""

    def span(line: Tensor) -> Tensor:  # (B, N) bool to all between the first and the last True
        return (line.cumsum(1) > 0) & (line.flip(1).cumsum(1).flip(1) > 0)

    return span(mask.any(2))[:, :, None] & span(mask.any(1))[:, None, :]


def region_of_interest(
    above: Tensor, cams: Tensor, region: Region = "largest", box: bool = True
) -> Tensor:
    """Where the published scheme looks for foreground.

    Args:
        above: (B, H, W) bool, the pixels above Otsu's threshold (`foreground_region`).
        cams: (B, H, W) float in [0, 1].
        region: "none": the whole frame; "all": all that is above the threshold; "largest": its
            largest 4-connected region; "densest": the one with the largest mean CAM among those
            of at least 5 % of the image, the largest where none is.
        box: take the bounding box of that instead; of "all" one box around all of its parts
            (the papers do not say).

    Returns:
        (B, H, W) bool; but for "none", empty where `above` is.

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
    scheme: str = "published",
    pixels: int = 1000,
    foreground_share: float = 0.7,
    background_share: float = 0.1,
    generator: torch.Generator | None = None,
    region: Region = "largest",
    box: bool = True,
) -> Tensor:
    """Draws seeds for a batch of CAMs.

    "text" (CoLo-CAM, Sec. 3): one foreground pixel above Otsu's threshold, by multinomial
    sampling with the CAM as weights; one background pixel, uniformly, from the rest.

    "published" (what published training runs): of the pixels of a region of interest (see
    `region_of_interest`; CoLo-CAM's is the bounding box of the largest 4-connected region above
    Otsu's threshold) the strongest `foreground_share`, `pixels` of them drawn without replacement
    with the CAM as weights; of all pixels the weakest `background_share`, `pixels` of them drawn
    uniformly. Each set is dilated by a 3×3 square; pixels in both are dropped.

    Args:
        cams: (B, H, W) float in [0, 1].
        scheme: "published" or "text".
        pixels: pixels drawn a side and frame in "published".
        foreground_share: strongest share of the region of interest, in (0, 1].
        background_share: weakest share of the frame, in (0, 1].
        generator: source of randomness, on the device of `cams`.
        region: of interest in "published", see `region_of_interest`.
        box: whether its bounding box stands for it.

    Returns:
        (B, H, W) uint8 seeds; all `IGNORED` where a CAM is constant.

    Raises:
        ValueError: unknown scheme, or region in "published".
    """
    above = foreground_region(cams)
    noise = torch.rand((2, *cams.shape), device=cams.device, generator=generator)
    if scheme == "text":
        foreground = _draw(above, cams, 1, noise[0])
        background = _draw(~above, None, 1, noise[1])
    elif scheme == "published":
        interest = region_of_interest(above, cams, region, box)
        strongest = strongest_share(cams, interest, foreground_share)
        weakest = weakest_share(cams, background_share)
        foreground = _dilated(_draw(strongest, cams, pixels, noise[0]))
        background = _dilated(_draw(weakest, None, pixels, noise[1]))
    else:
        raise ValueError(f"scheme: unknown {scheme!r}; known: published, text")
    usable = above.any(2).any(1)[:, None, None]  # a constant CAM says nothing
    seeds = torch.full(cams.shape, IGNORED, dtype=torch.uint8, device=cams.device)
    seeds.masked_fill_(foreground & ~background & usable, FOREGROUND)
    return seeds.masked_fill_(background & ~foreground & usable, BACKGROUND)


def strongest_share(scores: Tensor, mask: Tensor, share: float) -> Tensor:
    """The ⌈share · n⌉ strongest of the n pixels in each mask; equals of the last are all taken.

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
    """The ⌈share · n⌉ weakest of the n pixels of each map; equals of the last are all taken.

    Args:
        scores: (B, H, W) float.
        share: in (0, 1].

    Returns:
        (B, H, W) bool.
    """
    flat = scores.flatten(1)
    count = max(1, math.ceil(flat.shape[1] * share))
    last = flat.kthvalue(count, dim=1).values[:, None, None]  # of equal counts: no sorting
    return scores <= last


def _draw(mask: Tensor, weights: Tensor | None, count: int, noise: Tensor) -> Tensor:
    """Draws `count` pixels (fewer where there are fewer) of each mask without replacement.

    Gumbel top-k (Kool et al. 2019): the k largest of log w + Gumbel noise are a weighted sample
    without replacement. Uniform where `weights` is None; a pixel of weight 0 is never drawn.
    """
    tiny = torch.finfo(noise.dtype).tiny
    keys = -torch.log(-torch.log(noise.clamp(tiny, 1 - 1e-7)))
    if weights is not None:
        mask = mask & (weights > 0)
        keys = keys + torch.log(weights.clamp(min=tiny))
    keys = rearrange(keys.masked_fill(~mask, -torch.inf), "b h w -> b (h w)")
    top = keys.topk(min(count, keys.shape[1]), dim=1)
    drawn = torch.zeros_like(keys, dtype=torch.bool)
    return drawn.scatter_(1, top.indices, top.values > -torch.inf).view(mask.shape)


def _dilated(mask: Tensor) -> Tensor:
    """Each True grows to its 3×3 square."""
    return F.max_pool2d(mask[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
