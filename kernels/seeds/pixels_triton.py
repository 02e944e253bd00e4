"""Region of interest, keys that rank pixels, and seeds, pixel by pixel.

Keys are (2, B, plane) int32 for `selection_triton`: one half for the foreground, one for the
background. Boxes are (B, 4) int32, the largest of height - y, y + 1, width - x and x + 1 in the
region; all 0 for an empty region.
"""

import triton
import triton.language as tl

from colocam.kernels.seeds.otsu_triton import LEVELS, quantized
from colocam.kernels.seeds.selection_triton import least_key

NONE = tl.constexpr(0)  # the region of interest is the whole frame,
ALL = tl.constexpr(1)  # all pixels above the threshold,
ONE = tl.constexpr(2)  # or the region with a label
FOREGROUND = tl.constexpr(1)
BACKGROUND = tl.constexpr(0)
IGNORED = tl.constexpr(255)


@triton.jit
def pixels_of_image(plane, BLOCK: tl.constexpr):
    """Image of a program, its pixels, their index in the batch (int64), and the mask of pixels."""
    image = tl.program_id(0)
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return image, pixel, image.to(tl.int64) * plane + pixel, pixel < plane


@triton.jit
def in_region(cams, level, labels, chosen, image, at, valid, plane, REGION: tl.constexpr):
    """Mask of the pixels in the region of interest, without its box."""
    inside = valid
    if REGION == ALL:
        cam = tl.load(cams + at, mask=valid, other=0.0)
        inside = valid & (quantized(cam) > tl.load(level + image))
    if REGION == ONE:
        label = (image * plane + tl.load(chosen + image)).to(tl.int32)
        inside = valid & (tl.load(labels + at, mask=valid, other=-1) == label)
    return inside


@triton.jit
def bound_region(
    cams, level, labels, chosen, box, plane, height, width,
    REGION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """box[image] = bounding box of the region of interest."""
    image, pixel, at, valid = pixels_of_image(plane, BLOCK)
    inside = in_region(cams, level, labels, chosen, image, at, valid, plane, REGION)
    if tl.max(inside.to(tl.int32)) > 0:
        y = pixel // width
        x = pixel - y * width
        tl.atomic_max(box + image * 4, tl.max(tl.where(inside, height - y, 0)), sem="relaxed")
        tl.atomic_max(box + image * 4 + 1, tl.max(tl.where(inside, y + 1, 0)), sem="relaxed")
        tl.atomic_max(box + image * 4 + 2, tl.max(tl.where(inside, width - x, 0)), sem="relaxed")
        tl.atomic_max(box + image * 4 + 3, tl.max(tl.where(inside, x + 1, 0)), sem="relaxed")


@triton.jit(do_not_specialize=("images",))  # 1 would become a constant
def rank_by_cam(
    cams, level, labels, chosen, box, keys, images, plane, height, width,
    REGION: tl.constexpr, BOX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keys of the strongest pixels of the region of interest, and of the weakest of the frame."""
    image, pixel, at, valid = pixels_of_image(plane, BLOCK)
    cam = tl.load(cams + at, mask=valid, other=0.0)
    bits = tl.maximum(cam, 0.0).to(tl.int32, bitcast=True)
    if BOX:
        y = pixel // width
        x = pixel - y * width
        inside = valid & (height - y <= tl.load(box + image * 4))
        inside = inside & (y < tl.load(box + image * 4 + 1))
        inside = inside & (width - x <= tl.load(box + image * 4 + 2))
        inside = inside & (x < tl.load(box + image * 4 + 3))
    else:
        inside = in_region(cams, level, labels, chosen, image, at, valid, plane, REGION)
    tl.store(keys + at, tl.where(inside, bits, -1), mask=valid)
    tl.store(keys + images.to(tl.int64) * plane + at, 0x7F800000 - bits, mask=valid)


@triton.jit(do_not_specialize=("images",))  # 1 would become a constant
def rank_by_noise(
    cams, level, noise, keys, counts, images, plane, weakest, share,
    PUBLISHED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Replaces the keys by those of a weighted sample without replacement (`colocam.seeds`).

    Of the pixels that are ranked by CAM (PUBLISHED), or above and not above the threshold.
    """
    image, _, at, valid = pixels_of_image(plane, BLOCK)
    other = images.to(tl.int64) * plane + at
    cam = tl.load(cams + at, mask=valid, other=0.0)
    if PUBLISHED:
        rows = 2 * images
        strongest = least_key(counts, image, rows, images, weakest, share, True)
        least = least_key(counts, images + image, rows, images, weakest, share, True)
        foreground = tl.load(keys + at, mask=valid, other=-1) >= strongest
        background = tl.load(keys + other, mask=valid, other=-1) >= least
    else:
        foreground = quantized(cam) > tl.load(level + image)
        background = foreground == 0
    foreground = foreground & (cam > 0)
    key = cam / waiting_time(tl.load(noise + at, mask=valid, other=0.5))
    bits = tl.maximum(key, 0.0).to(tl.int32, bitcast=True)
    tl.store(keys + at, tl.where(foreground, bits, -1), mask=valid)
    bits = (1.0 / waiting_time(tl.load(noise + other, mask=valid, other=0.5))).to(
        tl.int32, bitcast=True
    )
    tl.store(keys + other, tl.where(background, bits, -1), mask=valid)


@triton.jit
def waiting_time(noise):
    """Uniform noise in [0, 1) → exponentially distributed times, above 0."""
    return -tl.log(tl.minimum(tl.maximum(noise, 1.1754943508222875e-38), 1 - 1e-7))


@triton.jit(do_not_specialize=("images",))  # 1 would become a constant
def write_seeds(
    keys, counts, level, seeds, images, plane, height, width, count,
    REACH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """seeds[pixel]: pixels with one of the `count` largest keys, and those at most REACH away."""
    image, pixel, at, valid = pixels_of_image(plane, BLOCK)
    least_of_foreground = least_key(counts, image, 2 * images, images, count, 0.0, False)
    least_of_background = least_key(counts, images + image, 2 * images, images, count, 0.0, False)
    y = pixel // width
    x = pixel - y * width
    foreground = valid & False
    background = valid & False
    for dy in tl.static_range(2 * REACH + 1):
        for dx in tl.static_range(2 * REACH + 1):
            near_y, near_x = y + dy - REACH, x + dx - REACH
            near = valid & (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
            key_at = keys + at + (dy - REACH) * width + (dx - REACH)
            key = tl.load(key_at, mask=near, other=-1)
            foreground = foreground | (near & (key >= least_of_foreground))
            key = tl.load(key_at + images.to(tl.int64) * plane, mask=near, other=-1)
            background = background | (near & (key >= least_of_background))
    seed = tl.where(foreground, FOREGROUND, BACKGROUND)
    usable = tl.load(level + image) < LEVELS - 1  # a constant CAM has no foreground
    seed = tl.where((foreground != background) & usable, seed, IGNORED)
    tl.store(seeds + at, seed.to(tl.uint8), mask=valid)
