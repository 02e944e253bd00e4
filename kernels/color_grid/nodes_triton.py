"""Kernels on the nodes of the colour grid: blur, and splat and slice for colours of any kind.

`splat_colors` adds every point to its own nodes, `blur_axis` runs once per axis, and
`slice_colors` reads.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from colocam.kernels.color_grid.geometry import Spacing, fit_blur
from colocam.kernels.launch import WINDOW, block, ceil_div
from colocam.kernels.points_triton import (
    group_of,
    is_invalid,
    mark_invalid,
    position_of,
    read_points,
)

BLUR_LINES = block(64)  # lines of nodes per program


@triton.jit
def spline_weight(t, tap):
    """`geometry.spline_weights` of degree 2."""
    ends = tl.where(tap == 0, 0.5 * (1 - t) * (1 - t), 0.5 * t * t)
    return tl.where(tap == 1, 0.5 + t - t * t, ends)


@triton.jit
def blur_axis(
    source, target, blur, lines, inner,
    NODES: tl.constexpr, PADDED: tl.constexpr, TILE: tl.constexpr, STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """target = blur along one axis of source (outer, NODES, inner); blur (NODES,) by distance."""
    line = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    outer = line // inner
    base = outer.to(tl.int64) * (inner * NODES) + (line - outer * inner)
    to = tl.program_id(1) * TILE + tl.arange(0, TILE)
    total = tl.zeros((BLOCK, TILE), tl.float32)
    for begin in range(0, PADDED, STEP):
        node = begin + tl.arange(0, STEP)
        values = tl.load(
            source + base[:, None] + node[None, :] * inner,
            mask=(line < lines)[:, None] & (node < NODES)[None, :],
            other=0.0,
        ).to(tl.float32)
        distance = tl.abs(node[:, None] - to[None, :])
        weights = tl.load(blur + distance, mask=distance < NODES, other=0.0)
        total = tl.dot(values, weights, total, input_precision="ieee")
    tl.store(
        target + base[:, None] + to[None, :] * inner,
        total,
        mask=(line < lines)[:, None] & (to < NODES)[None, :],
    )


@triton.jit
def locate_in_grid(
    source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
    first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most,
    DEGREE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Points → group, first node in the flat grid, offsets in the cell, masks mine and valid."""
    lows = (low0, low1, low2)
    sizes = (n0, n1, n2)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame, y, x = position_of(point, plane, width)
    number, mine = group_of(group, frame, point, points, first, last)
    colors = read_points(source, frame, y, x, mine, stride_f, stride_c, stride_y, stride_x, 3)
    valid = mine
    node = number - start
    offsets = ()
    for axis in tl.static_range(3):
        valid = valid & (colors[axis] >= least) & (colors[axis] <= most)
        scaled = tl.where(valid, colors[axis], 0.0) * per_step
        cell = tl.floor(scaled)
        along = cell.to(tl.int32) - lows[axis]
        valid = valid & (along >= 0) & (along < sizes[axis] - DEGREE)
        node = node * sizes[axis] + along
        offsets = offsets + (scaled - cell,)
    return point, number, node, offsets, mine, valid


@triton.jit(do_not_specialize=WINDOW)
def splat_colors(
    source, group, maps, nodes, bad, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, maps_f, maps_c, maps_y, maps_x,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    n0, n1, n2, low0, low1, low2, per_step, least, most, map_stride,
    DEGREE: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """nodes[map, group, i, j, k] += spline weights times the map; nodes float64."""
    point, number, node, offsets, mine, valid = locate_in_grid(
        source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most, DEGREE, BLOCK,
    )  # fmt: skip
    if tl.max(mine.to(tl.int32)) > 0:
        active = mark_invalid(bad, number, num_groups, mine, valid)
        frame, y, x = position_of(point, plane, width)
        values = read_points(maps, frame, y, x, active, maps_f, maps_c, maps_y, maps_x, MAPS)
        for i in tl.static_range(DEGREE + 1):
            for j in tl.static_range(DEGREE + 1):
                for k in tl.static_range(DEGREE + 1):
                    at = nodes + node + (i * n1 + j) * n2 + k
                    for c in tl.static_range(MAPS):
                        value = values[c]
                        if DEGREE > 0:
                            value *= spline_weight(offsets[0], i)
                            value *= spline_weight(offsets[1], j)
                            value *= spline_weight(offsets[2], k)
                        tl.atomic_add(
                            at + c * map_stride, value.to(tl.float64), mask=active, sem="relaxed"
                        )


@triton.jit(do_not_specialize=WINDOW)
def slice_colors(
    source, group, nodes, bad, out, points, plane, width,
    stride_f, stride_c, stride_y, stride_x, out_f, out_c, out_p,
    first: tl.int64, last: tl.int64, start: tl.int64, num_groups,
    n0, n1, n2, low0, low1, low2, per_step, least, most, map_stride,
    DEGREE: tl.constexpr, MAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out[frame, map, pixel] = spline weights times nodes; NaN where bad."""
    point, number, node, offsets, mine, valid = locate_in_grid(
        source, group, points, plane, width, stride_f, stride_c, stride_y, stride_x,
        first, last, start, n0, n1, n2, low0, low1, low2, per_step, least, most, DEGREE, BLOCK,
    )  # fmt: skip
    if tl.max(mine.to(tl.int32)) > 0:
        active = valid & (number >= 0) & (number < num_groups)
        invalid = is_invalid(bad, number, num_groups, mine)
        frame, _, _ = position_of(point, plane, width)
        at_out = out + frame * out_f + (point - frame * plane) * out_p
        for c in tl.static_range(MAPS):
            total = tl.zeros((BLOCK,), tl.float32)
            for i in tl.static_range(DEGREE + 1):
                for j in tl.static_range(DEGREE + 1):
                    for k in tl.static_range(DEGREE + 1):
                        at = nodes + c * map_stride + node + (i * n1 + j) * n2 + k
                        value = tl.load(at, mask=active, other=0.0)
                        if DEGREE > 0:
                            value *= spline_weight(offsets[0], i)
                            value *= spline_weight(offsets[1], j)
                            value *= spline_weight(offsets[2], k)
                        total += value
            tl.store(at_out + c * out_c, tl.where(invalid, float("nan"), total), mask=mine)


def blur_nodes(nodes: Tensor, sigma: float, spacing: Spacing) -> Tensor:
    """Blur along the three axes: nodes (N, n0, n1, n2) float32 or float64 → float32, same shape."""
    shape = nodes.shape
    spare = [torch.empty(shape, dtype=torch.float32, device=nodes.device) for _ in range(2)]
    inner = nodes[0].numel()
    for axis, size in enumerate(shape[1:]):
        inner //= size
        lines = nodes.numel() // size
        padded = max(16, triton.next_power_of_2(size))
        tile = min(padded, 64)
        target = spare[axis % 2]
        blur_axis[ceil_div(lines, BLUR_LINES), padded // tile](
            nodes, target, blur_by_distance(sigma, spacing, size, nodes.device), lines, inner,
            NODES=size, PADDED=padded, TILE=tile, STEP=16, BLOCK=BLUR_LINES, num_warps=8,
        )  # fmt: skip
        nodes = target
    return nodes


@functools.lru_cache(maxsize=64)
def blur_by_distance(sigma: float, spacing: Spacing, size: int, device: torch.device) -> Tensor:
    """`fit_blur` for the distances 0...size-1, (size,) float32."""
    blur = torch.zeros(size, dtype=torch.float32)
    fitted = fit_blur(sigma, spacing)[:size]
    blur[: len(fitted)] = fitted
    return blur.to(device)
