"""Energy and half gradient of a CRF from filtered maps, as Triton kernels."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from colocam.kernels.launch import block, ceil_div

PARTS_BLOCK = 1024  # parts that a program of `sum_parts` adds at once


@triton.jit
def half_grad_and_energy(
    filtered, maps, parts, plane, width, maps_f, maps_c, maps_y, maps_x,
    MAPS: tl.constexpr, CUT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Replaces filtered (F, MAPS, plane) by the half gradient; parts[program] = half_grad · maps.

    A program computes BLOCK pixels of one frame. The half gradient of a map is the negated
    filtered map or, with CUT, the sum of the other filtered maps (no subtraction: no cancellation).
    """
    blocks = tl.cdiv(plane, BLOCK)
    frame = tl.program_id(0).to(tl.int64) // blocks
    pixel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < plane
    y = pixel // width
    value_at = maps + frame * maps_f + y * maps_y + (pixel - y * width) * maps_x
    filtered_at = filtered + frame * (MAPS * plane) + pixel
    loaded: tl.tuple = ()  # all maps, before the first store overwrites one
    for c in tl.static_range(MAPS):
        loaded = loaded + (tl.load(filtered_at + c * plane, mask=inside, other=0.0),)
    total = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(MAPS):
        half_grad = -loaded[c]
        if CUT:
            half_grad = tl.zeros((BLOCK,), tl.float32)
            for other in tl.static_range(MAPS):
                if other != c:
                    half_grad += loaded[other]
        value = tl.load(value_at + c * maps_c, mask=inside, other=0.0).to(tl.float32)
        tl.store(filtered_at + c * plane, half_grad, mask=inside)
        total += value * half_grad
    # float64: a float32 sum over this many pixels loses digits
    tl.store(parts + tl.program_id(0), tl.sum(total.to(tl.float64), axis=0))


@triton.jit
def sum_parts(parts, group, energy, count, blocks, num_groups, BLOCK: tl.constexpr):
    """energy[program] = the sum of the parts (count,) of the group's frames, in a fixed order.

    NaN for all groups if some frame's group does not exist: also for groups without frames.
    """
    total = tl.zeros((BLOCK,), tl.float64)
    missing = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, count, BLOCK):
        part = start + tl.arange(0, BLOCK)
        inside = part < count
        number = tl.load(group + part // blocks, mask=inside, other=0)
        missing |= ((number < 0) | (number >= num_groups)).to(tl.int32)
        own = inside & (number == tl.program_id(0))
        total += tl.load(parts + part, mask=own, other=0.0)
    value = tl.sum(total, axis=0).to(tl.float32)
    tl.store(energy + tl.program_id(0), tl.where(tl.max(missing, axis=0) > 0, float("nan"), value))


@triton.jit
def scale_by_group(half_grad, grad, group, out, count, volume, num_groups, BLOCK: tl.constexpr):
    """out = half_grad (frames, volume) times twice the gradient of the frame's energy."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    # half_grad is NaN where a group does not exist
    number = tl.load(group + at // volume, mask=inside, other=0)
    number = tl.minimum(tl.maximum(number, 0), num_groups - 1)
    factor = 2 * tl.load(grad + number, mask=inside, other=0.0)
    tl.store(out + at, factor * tl.load(half_grad + at, mask=inside, other=0.0), mask=inside)


def scaled_half_grad(half_grad: Tensor, grad: Tensor, group: Tensor) -> Tensor:
    """Gradient of probs: half_grad (B, K, H, W) contiguous, grad (G,), group (B,), float32."""
    out = torch.empty_like(half_grad)
    if out.numel():
        size = block(1024)
        scale_by_group[(ceil_div(out.numel(), size),)](
            half_grad, grad.contiguous(), group.contiguous(), out, out.numel(),
            out[0].numel(), len(grad), BLOCK=size,
        )  # fmt: skip
    return out


def energy_from_filtered(
    filtered: Tensor, probs: Tensor, group: Tensor, num_groups: int, form: str
) -> tuple[Tensor, Tensor]:
    """Energy (G,) float32 and half gradient (B, K, H, W); overwrites `filtered`.

    The derivative of the energies with respect to the maps is twice the half gradient. If a frame's
    group does not exist, `filtered` is NaN everywhere, and all energies become NaN.

    Args:
        filtered: (B, K, H, W) float32, contiguous: filtered `probs`.
        probs: (B, K, H, W) float32, any strides.
        group: (B,) int64, contiguous.
        num_groups: G.
        form: "association" or "cut".
    """
    frames, maps, height, width = probs.shape
    if not probs.numel():
        return torch.zeros(num_groups, dtype=torch.float32, device=probs.device), filtered
    plane = height * width
    size = block(1024 if maps <= 4 else 128)  # pixels per program
    blocks = ceil_div(plane, size)
    parts = torch.empty(frames * blocks, dtype=torch.float64, device=probs.device)
    half_grad_and_energy[(frames * blocks,)](
        filtered, probs, parts, plane, width, *probs.stride(),
        MAPS=maps, CUT=form == "cut", BLOCK=size,
    )  # fmt: skip
    energy = torch.empty(num_groups, dtype=torch.float32, device=probs.device)
    sum_parts[(num_groups,)](
        parts, group, energy, len(parts), blocks, num_groups, BLOCK=PARTS_BLOCK
    )
    return energy, filtered
