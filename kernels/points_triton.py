"""Device functions that the filter kernels share: reading points, their groups, sums of rows.

Points are the pixels of frames, read in place from a tensor (frames, channels, height, width) of
any strides. A plain list of points is a tensor whose frames have one pixel each.

Sums over points are 64-bit integers in fixed point (`launch.fixed_point`): integer sums have no
order, so that atomic additions give the same bits every time, and a sum of a million points loses
no digits.
"""

import triton
import triton.language as tl


@triton.jit
def pixel_position(point, plane, width):
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
    channels: tl.tuple = ()
    for c in tl.static_range(COUNT):
        channels = channels + (tl.load(at + c * stride_c, mask=active, other=0).to(tl.float32),)
    return channels


@triton.jit
def group_of(group, frame, point, points, first, last):
    """Groups (int64) of points, and the mask of points with first <= group < last."""
    inside = point < points
    number = tl.load(group + frame, mask=inside, other=0)
    return number, inside & (number >= first) & (number < last)


@triton.jit
def flag_invalid(invalid_groups, number, num_groups, in_pass, valid):
    """Flag groups with invalid points; the last entry flags groups that do not exist.

    Returns the mask of valid points of existing groups.
    """
    exists = (number >= 0) & (number < num_groups)
    tl.store(invalid_groups + tl.where(exists, number, num_groups), 1, mask=in_pass & (valid == 0))
    tl.store(invalid_groups + num_groups + number * 0, 1, mask=in_pass & (exists == 0))
    return in_pass & valid & exists


@triton.jit
def is_invalid(invalid_groups, number, num_groups, in_pass):
    """Mask of points whose result is NaN: their group is flagged, or some group does not exist."""
    exists = (number >= 0) & (number < num_groups)
    flagged = tl.load(invalid_groups + tl.where(exists, number, num_groups), mask=in_pass, other=0)
    return (flagged + tl.load(invalid_groups + num_groups)) > 0


@triton.jit
def to_fixed(value):
    """float32 → int64, rounded to nearest."""
    return tl.floor(value + 0.5).to(tl.int64)


@triton.jit
def inverse_of(unit):
    """1 / unit of powers of two; a division may be inexact on a GPU."""
    return (0x7F000000 - unit.to(tl.int32, bitcast=True)).to(tl.float32, bitcast=True)


@triton.jit
def read_values(
    maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, invalid_groups, number,
    units, bound, MAPS: tl.constexpr,
):  # fmt: skip
    """Values of the maps times their units, and the mask of points whose values can be summed.

    Other values, NaN among them, are 0, and their groups are flagged.
    """
    values = read_points(maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, MAPS)
    sound = active
    for c in tl.static_range(MAPS):
        sound = sound & (tl.abs(values[c] * tl.load(units + c)) <= bound)
    tl.store(invalid_groups + number, 1, mask=active & (sound == 0))
    scaled: tl.tuple = ()
    for c in tl.static_range(MAPS):
        scaled = scaled + (tl.where(sound, values[c] * tl.load(units + c), 0.0),)
    return scaled, sound


@triton.jit
def add_to_rows(
    table, row, tile, active,
    WIDTH: tl.constexpr, STRIP: tl.constexpr, BLOCK: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """table[row, :WIDTH] += tile (BLOCK, PADDED), atomically; rows of inactive points are ignored.

    STRIP neighbouring points that all share their row are summed first and added once. That bounds
    the contention in uniform areas (black bars, saturated sky); in textured frames few strips are
    uniform (0 to 5 %), and most points are added one by one. `table` is int64, in fixed point.
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
        to_fixed(sums),
        mask=uniform[:, None] & (column < WIDTH),
        sem="relaxed",
    )
    added = tl.reshape(tl.broadcast_to(uniform[:, None], (BLOCK // STRIP, STRIP)), (BLOCK,))
    alone = active & (added == 0)
    tl.atomic_add(
        table + row.to(tl.int64)[:, None] * WIDTH + column,
        to_fixed(tile),
        mask=alone[:, None] & (column < WIDTH),
        sem="relaxed",
    )
