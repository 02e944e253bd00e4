"""Seeds on a GPU: launches of the kernels, without synchronization.

`colocam.seeds` defines what is computed; both give the same seeds from the same noise, up to
rounding of its logarithm.
"""

import math

import torch
import triton
from torch import Tensor

from colocam.kernels.launch import block, ceil_div
from colocam.kernels.seeds import choice
from colocam.kernels.seeds.otsu_triton import LEVELS, choose_level, count_levels
from colocam.kernels.seeds.pixels_triton import (
    ALL,
    NONE,
    ONE,
    bound_region,
    rank_by_cam,
    rank_by_noise,
    write_seeds,
)
from colocam.kernels.seeds.regions_triton import find_roots, join_rows, label_runs
from colocam.kernels.seeds.selection_triton import DIGITS, VALUES, count_digits

ROWS = block(4)  # rows of pixels per program
BLOCK = block(1024)  # pixels per program
JOIN_BLOCK = block(256)  # of `join_rows`: at least one pixel per thread
COUNT_BLOCK = block(4096)  # pixels per program that fills a histogram
REGIONS = {"none": NONE, "all": ALL}


def connected_regions(mask: Tensor) -> Tensor:
    """`colocam.seeds.connected_regions` of masks (B, H, W) bool: (B, H, W) int32."""
    mask = mask.contiguous()
    return _labelled(mask.view(torch.uint8), None, None)


def _labelled(source: Tensor, level: Tensor | None, sizes: Tensor | None) -> Tensor:
    """Labels (B, H, W) int32 of masks or, with levels (B,), of the pixels of maps above them.

    Adds the number of pixels of each label to sizes (B·H·W,), if given.
    """
    images, height, width = source.shape
    parent = torch.empty(source.shape, dtype=torch.int32, device=source.device)
    labels = torch.empty_like(parent)
    if labels.numel() == 0:
        return labels
    rows = images * height
    shape = {"ROWS": ROWS, "COLUMNS": max(32, triton.next_power_of_2(width))}
    programs = (ceil_div(rows, ROWS),)
    threshold = level is not None
    label_runs[programs](source, level, parent, rows, height, width, THRESHOLD=threshold, **shape)
    join_rows[(ceil_div(parent.numel(), JOIN_BLOCK),)](
        parent, parent.numel(), height, width, BLOCK=JOIN_BLOCK
    )
    find_roots[programs](
        parent,
        labels,
        sizes,
        rows,
        width,
        parent.numel(),
        COUNT=sizes is not None,
        **shape,
        maxnreg=64,
    )
    return labels


def launch_seeds(
    cams: Tensor,
    noise: Tensor,
    scheme: str,
    pixels: int,
    foreground_share: float,
    background_share: float,
    region: str,
    box: bool,
) -> Tensor:
    """Launches the kernels of `seeds_from_noise`."""
    cams, noise = cams.contiguous(), noise.contiguous()
    images, height, width = cams.shape
    seeds = torch.empty(cams.shape, dtype=torch.uint8, device=cams.device)
    if seeds.numel() == 0:
        return seeds
    plane, rows = height * width, 2 * images
    published = scheme == "published"
    pixels = pixels if published else 1
    weakest = max(1, math.ceil(plane * background_share))
    of_digits = DIGITS.value * rows * VALUES.value
    lengths = [images * LEVELS.value, of_digits, of_digits, 4 * images, images * plane]
    zeros = torch.zeros(sum(lengths), dtype=torch.int32, device=cams.device)
    levels, of_cams, of_noise, bounds, sizes = zeros.split(lengths)
    level = torch.empty(images, dtype=torch.int32, device=cams.device)
    keys = torch.empty(2, images, plane, dtype=torch.int32, device=cams.device)
    count_levels[images, ceil_div(plane, COUNT_BLOCK)](cams, levels, plane, BLOCK=COUNT_BLOCK)
    choose_level[(images,)](levels, level)
    blocks = images, ceil_div(plane, BLOCK)
    if published:
        labels = chosen = None
        kind = REGIONS.get(region, ONE)
        if kind is ONE:
            labels = _labelled(cams, level, sizes)
            if region == "densest":
                chosen = choice.densest_label(choice.labels_in_image(labels), cams)
            else:
                chosen = sizes.view(images, plane).argmax(1)
        of_region = cams, level, labels, chosen, bounds
        shape = {"REGION": kind.value, "BLOCK": BLOCK}
        if box and kind is not NONE:
            bound_region[blocks](*of_region, plane, height, width, **shape)
        rank_by_cam[blocks](
            *of_region, keys, images, plane, height, width, BOX=box and kind is not NONE, **shape
        )
        _count(keys, of_cams, weakest, foreground_share, True)
    rank_by_noise[blocks](
        cams, level, noise, keys, of_cams, images, plane, weakest, foreground_share,
        PUBLISHED=published, BLOCK=BLOCK,
    )  # fmt: skip
    _count(keys, of_noise, pixels, 0.0, False)
    write_seeds[blocks](
        keys, of_noise, level, seeds, images, plane, height, width, pixels,
        REACH=1 if published else 0, BLOCK=BLOCK,
    )  # fmt: skip
    return seeds


@torch.library.custom_op("colocam::seeds_from_noise", mutates_args=())
def seeds_from_noise(
    cams: Tensor,
    noise: Tensor,
    scheme: str,
    pixels: int,
    foreground_share: float,
    background_share: float,
    region: str,
    box: bool,
) -> Tensor:
    """`colocam.seeds.seeds_from_noise` of cams (B, H, W) float32."""
    with torch.cuda.device_of(cams):
        return launch_seeds(
            cams, noise, scheme, pixels, foreground_share, background_share, region, box
        )


@seeds_from_noise.register_fake
def _(
    cams: Tensor,
    noise: Tensor,
    scheme: str,
    pixels: int,
    foreground_share: float,
    background_share: float,
    region: str,
    box: bool,
) -> Tensor:
    return cams.new_empty(cams.shape, dtype=torch.uint8)


def _count(keys: Tensor, counts: Tensor, count: int, share: float, with_share: bool) -> None:
    """Fill the digits' counts (4, 2 B, 256) of keys (2, B, plane)."""
    _, images, plane = keys.shape
    for place in range(DIGITS.value):
        count_digits[2 * images, ceil_div(plane, COUNT_BLOCK)](
            keys, counts, 2 * images, images, plane, count, share,
            PLACE=place, SHARE=with_share, BLOCK=COUNT_BLOCK,
        )  # fmt: skip
