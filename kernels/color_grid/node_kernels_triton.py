"""Kernels of the colour grid for any colours (`NodeGrid` in `grid_triton.py` launches them).

Every pixel is splatted onto, and sliced from, the (DEGREE + 1)^3 nodes of its own cell.
"""

import triton
import triton.language as tl

from colocam.kernels.launch import WINDOW
from colocam.kernels.points_triton import (
    flag_invalid,
    group_of,
    inverse_of,
    is_invalid,
    pixel_position,
    read_points,
    read_values,
    to_fixed,
)


@triton.jit
def spline_weight(t, tap):
    """Weights of `geometry.spline_weights` for degree 2."""
    ends = tl.where(tap == 0, 0.5 * (1 - t) * (1 - t), 0.5 * t * t)
    return tl.where(tap == 1, 0.5 + t - t * t, ends)


@triton.jit
def locate_in_grid(
    source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
    first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most,
    DEGREE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Points → index, group, first node in the flat grid, fractional position, masks.

    The masks are the points of the pass and, of these, the valid ones: colour within least...most,
    cell on the grid.
    """
    lows = (low0, low1, low2)
    sizes = (n0, n1, n2)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = pixel_position(point, plane, width)
    number, in_pass = group_of(group, frame, point, points, first, last)
    colors = read_points(source, frame, y, x, in_pass, stride_f, stride_c, stride_y, stride_x, 3)
    valid = in_pass
    node = number - start
    fractions: tl.tuple = ()
    for axis in tl.static_range(3):
        valid = valid & (colors[axis] >= least) & (colors[axis] <= most)
        scaled = tl.where(valid, colors[axis], 0.0) * per_step
        cell = tl.floor(scaled)
        along = cell.to(tl.int32) - lows[axis]
        valid = valid & (along >= 0) & (along < sizes[axis] - DEGREE)
        node = node * sizes[axis] + along
        fractions = fractions + (scaled - cell,)
    return point, number, node, fractions, in_pass, valid


@triton.jit(do_not_specialize=WINDOW)
def splat_colors(
    source, group, maps, nodes, invalid_groups, units, bound, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, maps_f, maps_c, maps_y, maps_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    n0, n1, n2, low0, low1, low2, per_step, least, most, map_stride,
    DEGREE: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """nodes[map, group, i, j, k] += spline weights · values of the map; nodes int64."""
    point, number, node, fractions, in_pass, valid = locate_in_grid(
        source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most, DEGREE, BLOCK,
    )  # fmt: skip
    if tl.max(in_pass.to(tl.int32)) > 0:
        active = flag_invalid(invalid_groups, number, num_groups, in_pass, valid)
        frame, y, x = pixel_position(point, plane, width)
        values, active = read_values(
            maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, invalid_groups, number,
            units, bound, MAPS,
        )  # fmt: skip
        for i in tl.static_range(DEGREE + 1):
            for j in tl.static_range(DEGREE + 1):
                for k in tl.static_range(DEGREE + 1):
                    at = nodes + node + (i * n1 + j) * n2 + k
                    for c in tl.static_range(MAPS):
                        value = values[c]
                        if DEGREE > 0:
                            value *= spline_weight(fractions[0], i)
                            value *= spline_weight(fractions[1], j)
                            value *= spline_weight(fractions[2], k)
                        fixed = to_fixed(value)
                        tl.atomic_add(at + c * map_stride, fixed, mask=active, sem="relaxed")


@triton.jit(do_not_specialize=WINDOW)
def slice_colors(
    source, group, nodes, invalid_groups, units, out, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, out_f, out_c, out_p,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    n0, n1, n2, low0, low1, low2, per_step, least, most, map_stride,
    DEGREE: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = spline weights · nodes; NaN for points of invalid groups."""
    point, number, node, fractions, in_pass, valid = locate_in_grid(
        source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most, DEGREE, BLOCK,
    )  # fmt: skip
    if tl.max(in_pass.to(tl.int32)) > 0:
        active = valid & (number >= 0) & (number < num_groups)
        invalid = is_invalid(invalid_groups, number, num_groups, in_pass)
        frame, _, _ = pixel_position(point, plane, width)
        at_out = out + frame * out_f + (point - frame * plane) * out_p
        for c in tl.static_range(MAPS):
            total = tl.zeros((BLOCK,), tl.float32)
            for i in tl.static_range(DEGREE + 1):
                for j in tl.static_range(DEGREE + 1):
                    for k in tl.static_range(DEGREE + 1):
                        at = nodes + c * map_stride + node + (i * n1 + j) * n2 + k
                        value = tl.load(at, mask=active, other=0.0)
                        if DEGREE > 0:
                            value *= spline_weight(fractions[0], i)
                            value *= spline_weight(fractions[1], j)
                            value *= spline_weight(fractions[2], k)
                        total += value
            total *= inverse_of(tl.load(units + c))
            tl.store(at_out + c * out_c, tl.where(invalid, float("nan"), total), mask=in_pass)
