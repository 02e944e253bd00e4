"""What the filters' Triton kernels share: points, their groups, and sums over points.

Points are the pixels of frames, read where they lie: a tensor (frames, channels, height, width)
with any strides. A plain list of points is a tensor of frames of one pixel.
"""

import triton
import triton.language as tl


@triton.jit
def position_of(point, plane, width):
    """Frame (int64, for offsets), row and column of points."""
    frame = point // plane
    within = point - frame * plane
    y = within // width
    return frame.to(tl.int64), y, within - y * width


@triton.jit
def read_points(
    tensor, frame, y, x, active, stride_f, stride_c, stride_y, stride_x, COUNT: tl.constexpr
):
    """The first COUNT channels of points, as a tuple of float32."""
    at = tensor + frame * stride_f + y * stride_y + x * stride_x
    channels = ()
    for c in tl.static_range(COUNT):
        channels = channels + (tl.load(at + c * stride_c, mask=active, other=0).to(tl.float32),)
    return channels


@triton.jit
def group_of(group, frame, point, points, first, last):
    """Groups (int64) of points, and which points belong to first <= group < last."""
    inside = point < points
    number = tl.load(group + frame, mask=inside, other=0)
    return number, inside & (number >= first) & (number < last)


@triton.jit
def mark_invalid(bad, number, num_groups, mine, valid):
    """Marks the groups of invalid points; a group that does not exist invalidates all groups."""
    exists = (number >= 0) & (number < num_groups)
    tl.store(bad + tl.where(exists, number, num_groups), 1, mask=mine & (valid == 0))
    tl.store(bad + num_groups + number * 0, 1, mask=mine & (exists == 0))
    return mine & valid & exists


@triton.jit
def is_invalid(bad, number, num_groups, mine):
    """Whether the results of the points are invalid."""
    exists = (number >= 0) & (number < num_groups)
    flagged = tl.load(bad + tl.where(exists, number, num_groups), mask=mine, other=0)
    return (flagged + tl.load(bad + num_groups)) > 0


@triton.jit
def add_to_rows(
    table, row, tile, active,
    WIDTH: tl.constexpr, STRIP: tl.constexpr, BLOCK: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """table[row, :WIDTH] += tile (BLOCK, PADDED); `table` float64, rows of inactive points unread.

    Flat regions send thousands of pixels to one row, so STRIP neighbouring points are summed first
    where they share a row: 0 to 5 % of the strips of natural frames, all of those of a black bar.
    float64, because float32 loses precision when a million points are added to one row.
    """
    column = tl.arange(0, PADDED)[None, :]
    tile = tl.where(active[:, None], tile, 0.0)
    row = tl.where(active, row, -1)
    strips = tl.reshape(row, (BLOCK // STRIP, STRIP))
    shared = tl.max(strips, axis=1)
    uniform = (tl.min(strips, axis=1) == shared) & (shared >= 0)
    sums = tl.sum(tl.reshape(tile, (BLOCK // STRIP, STRIP, PADDED)), axis=1)
    tl.atomic_add(
        table + shared.to(tl.int64)[:, None] * WIDTH + column,
        sums.to(tl.float64),
        mask=uniform[:, None] & (column < WIDTH),
        sem="relaxed",
    )
    done = tl.reshape(tl.broadcast_to(uniform[:, None], (BLOCK // STRIP, STRIP)), (BLOCK,))
    alone = active & (done == 0)
    tl.atomic_add(
        table + row.to(tl.int64)[:, None] * WIDTH + column,
        tile.to(tl.float64),
        mask=alone[:, None] & (column < WIDTH),
        sem="relaxed",
    )
