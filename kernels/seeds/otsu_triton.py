"""Otsu's threshold of a batch of maps, as Triton kernels (`colocam.seeds.otsu_level`)."""

import triton
import triton.language as tl

LEVELS = tl.constexpr(256)


@triton.jit
def quantized(cams):
    """Maps in [0, 1] → integer levels 0...255, by truncation of 255 · cam."""
    level = (cams * (LEVELS - 1)).to(tl.int32)
    return tl.minimum(tl.maximum(level, 0), LEVELS - 1)


@triton.jit
def count_levels(cams, counts, plane, BLOCK: tl.constexpr):
    """counts[image, level] += pixels of the image (B, plane) with this level."""
    image = tl.program_id(0)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < plane
    level = quantized(tl.load(cams + image.to(tl.int64) * plane + pixel, mask=inside, other=0.0))
    number = tl.histogram(level, LEVELS, mask=inside)
    at = counts + image * LEVELS + tl.arange(0, LEVELS)
    tl.atomic_add(at, number, mask=number > 0, sem="relaxed")


@triton.jit
def choose_level(counts, level):
    """level[image] = the first level of largest between-class variance; 255 for one level only."""
    image = tl.program_id(0)
    each = tl.arange(0, LEVELS)
    count = tl.load(counts + image * LEVELS + each).to(tl.int64)
    below = tl.cumsum(count, axis=0)  # number of pixels at or below a level
    sum_below = tl.cumsum(count * each, axis=0)  # of their levels
    pixels = tl.sum(count, axis=0)
    total = tl.sum(count * each, axis=0)
    difference = (total * below - pixels * sum_below).to(tl.float64)
    classes = tl.maximum(below * (pixels - below), 1).to(tl.float64)
    between = difference * difference / classes
    best = tl.argmax(between, axis=0)
    tl.store(level + image, tl.where(tl.max(between, axis=0) > 0, best, LEVELS - 1))
