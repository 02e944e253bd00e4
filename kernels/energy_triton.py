"""Energy and half gradient of a CRF from filtered maps, as one Triton kernel."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from colocam.kernels.launch import block, ceil_div


@triton.jit
def half_grad_and_energy(
    filtered, maps, group, energy, plane, width, maps_f, maps_c, maps_y, maps_x, num_groups,
    MAPS: tl.constexpr, CUT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Replaces filtered (F, MAPS, plane) by the half gradient; energy[group] += half_grad · maps.

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
    number = tl.load(group + frame)
    exists = (number >= 0) & (number < num_groups)
    tl.atomic_add(energy + number, tl.sum(total.to(tl.float64), axis=0), mask=exists, sem="relaxed")
    if exists == 0:
        invalid = tl.full((), 0, tl.int64)
        while invalid < num_groups:  # also groups without frames, whose energy is 0 otherwise
            tl.store(energy + invalid, float("nan"))
            invalid += 1


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
    energy = torch.zeros(num_groups, dtype=torch.float64, device=probs.device)
    if probs.numel():
        plane = height * width
        size = block(1024 if maps <= 4 else 128)  # pixels per program
        half_grad_and_energy[(frames * ceil_div(plane, size),)](
            filtered, probs, group, energy, plane, width, *probs.stride(), num_groups,
            MAPS=maps, CUT=form == "cut", BLOCK=size,
        )  # fmt: skip
    return energy.to(torch.float32), filtered
