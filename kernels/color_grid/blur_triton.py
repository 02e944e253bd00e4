"""Blur of the colour grid along its three axes, as a Triton kernel."""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from colocam.kernels.color_grid.geometry import Spacing, fit_blur
from colocam.kernels.launch import block, ceil_div

BLUR_LINES = block(64)  # lines of nodes per program


@triton.jit
def blur_axis(
    source, target, blur, lines, inner,
    NODES: tl.constexpr, PADDED: tl.constexpr, TILE: tl.constexpr, STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """target = source (outer, NODES, inner) blurred along NODES; blur (NODES,) by distance."""
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
            other=0,
        ).to(tl.float32)
        distance = tl.abs(node[:, None] - to[None, :])
        weights = tl.load(blur + distance, mask=distance < NODES, other=0.0)
        total = tl.dot(values, weights, total, input_precision="ieee")
    tl.store(
        target + base[:, None] + to[None, :] * inner,
        total,
        mask=(line < lines)[:, None] & (to < NODES)[None, :],
    )


def blur_nodes(nodes: Tensor, sigma: float, spacing: Spacing) -> Tensor:
    """Blur along the three axes: nodes (N, n0, n1, n2) int64 → float32, same shape."""
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
    """`fit_blur` for distances 0...size-1: (size,) float32."""
    blur = torch.zeros(size, dtype=torch.float32)
    fitted = fit_blur(sigma, spacing)[:size]
    blur[: len(fitted)] = fitted
    return blur.to(device)
