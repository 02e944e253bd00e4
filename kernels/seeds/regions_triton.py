"""4-connected regions of a batch of masks, by union–find.

1. `label_runs`: every pixel of a horizontal run gets the run's first pixel as its parent.
2. `join_rows`: unites runs that touch in neighbouring rows. A root is hooked to a smaller one by an
   atomic minimum (Komura 2015; Playne and Hawick 2018), so that parents only become smaller, in any
   order of the programs, and the root of a region is its first pixel.
3. `find_roots`: the label of every pixel, and the number of pixels of each label.

Pixels are numbered through the batch, in int32; -1 is outside of the mask.
"""

import triton
import triton.language as tl

from colocam.kernels.seeds.otsu_triton import quantized


@triton.jit
def larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def run_starts(inside, column):
    """Column of the first pixel of each pixel's horizontal run: tiles (rows, columns)."""
    return tl.associative_scan(tl.where(inside, 0, column + 1), 1, larger)


@triton.jit
def tile_of_rows(rows, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows (ROWS, 1) and columns (1, COLUMNS) of a program, and the mask of its pixels."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    return row, column, (row < rows) & (column < width)


@triton.jit
def label_runs(
    source, level, parent, rows, height, width,
    THRESHOLD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """parent[pixel] = first pixel of its run, -1 outside.

    source is a mask or, with THRESHOLD, maps whose mask are the pixels above the image's level.
    """
    row, column, valid = tile_of_rows(rows, width, ROWS, COLUMNS)
    pixel = row * width + column
    value = tl.load(source + pixel, mask=valid, other=0)
    if THRESHOLD:
        inside = valid & (quantized(value) > tl.load(level + row // height, mask=row < rows))
    else:
        inside = valid & (value != 0)
    start = row * width + run_starts(inside, column)
    tl.store(parent + pixel, tl.where(inside, start, -1), mask=valid)


@triton.jit
def join_rows(parent, pixels, height, width, BLOCK: tl.constexpr):
    """Unites the runs of each row with those of the row above that they touch."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = pixel % width
    below = (pixel < pixels) & (pixel // width % height > 0)
    a = tl.load(parent + pixel, mask=below, other=-1, volatile=True)
    b = tl.load(parent + pixel - width, mask=below, other=-1, volatile=True)
    left = below & (x > 0)  # two runs are united at their first common column only
    before = tl.load(parent + pixel - 1, mask=left, other=-1, volatile=True)
    before_above = tl.load(parent + pixel - width - 1, mask=left, other=-1, volatile=True)
    pending = (a >= 0) & (b >= 0) & ((before < 0) | (before_above < 0)) & (a != b)
    while tl.max(pending.to(tl.int32)) > 0:
        # A stale parent is harmless: it is an ancestor, and the atomic reads the current one.
        up_a = tl.load(parent + a, mask=pending, other=0, volatile=True)
        up_b = tl.load(parent + b, mask=pending, other=0, volatile=True)
        roots = pending & (up_a == a) & (up_b == b)
        if tl.max(roots.to(tl.int32)) > 0:
            high, low = tl.maximum(a, b), tl.minimum(a, b)
            held = tl.atomic_min(parent + high, low, mask=roots, sem="relaxed")
            hooked = roots & (held == high)
            # Another program hooked `high` to `held` before: what remains is held and low.
            up_a = tl.where(roots, held, up_a)
            up_b = tl.where(roots, low, up_b)
            pending = pending & (hooked == 0)
        a, b = tl.where(pending, up_a, a), tl.where(pending, up_b, b)
        pending = pending & (a != b)


@triton.jit
def find_roots(
    parent, labels, sizes, rows, width, outside,
    COUNT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """labels[pixel] = root, `outside` without one; with COUNT, sizes[root] += pixels."""
    row, column, valid = tile_of_rows(rows, width, ROWS, COLUMNS)
    pixel = row * width + column
    root = tl.load(parent + pixel, mask=valid, other=-1)
    inside = root >= 0
    pending = inside
    while tl.max(tl.max(pending.to(tl.int32), axis=1), axis=0) > 0:
        up = tl.load(parent + root, mask=pending, other=0)
        pending = pending & (up != root)
        root = tl.where(pending, up, root)
    tl.store(labels + pixel, tl.where(inside, root, outside), mask=valid)
    if COUNT:  # once a run, at its end
        following = tl.load(parent + pixel + 1, mask=valid & (column + 1 < width), other=-1)
        length = column + 1 - run_starts(inside, column)
        tl.atomic_add(sizes + root, length, mask=inside & (following < 0), sem="relaxed")
