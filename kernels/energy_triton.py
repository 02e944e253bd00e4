"""From filtered maps to the energy and its gradient, as one Triton kernel."""

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
    """Half gradient in the memory of filtered (F, MAPS, plane); energy[group] += product with maps.

    A program works on some pixels of one frame. The half gradient is the negated filtered map or,
    with CUT, the sum of the other filtered maps, which avoids cancellation.
    """
    blocks = tl.cdiv(plane, BLOCK)
    frame = tl.program_id(0).to(tl.int64) // blocks
    pixel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < plane
    y = pixel // width
    value_at = maps + frame * maps_f + y * maps_y + (pixel - y * width) * maps_x
    half_grad_at = filtered + frame * (MAPS * plane) + pixel
    whole = ()
    for c in tl.static_range(MAPS):
        whole = whole + (tl.load(half_grad_at + c * plane, mask=inside, other=0.0),)
    total = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(MAPS):
        half_grad = -whole[c]
        if CUT:
            half_grad = tl.zeros((BLOCK,), tl.float32)
            for other in tl.static_range(MAPS):
                if other != c:
                    half_grad += whole[other]
        value = tl.load(value_at + c * maps_c, mask=inside, other=0.0).to(tl.float32)
        tl.store(half_grad_at + c * plane, half_grad, mask=inside)
        total += value * half_grad
    # many terms: float32 would be too short
    number = tl.load(group + frame)
    exists = (number >= 0) & (number < num_groups)
    tl.atomic_add(energy + number, tl.sum(total.to(tl.float64), axis=0), mask=exists, sem="relaxed")
    if exists == 0:
        each = tl.full((), 0, tl.int64)
        while each < num_groups:  # groups without frames too: 0 would look like a result
            tl.store(energy + each, float("nan"))
            each += 1


def finish(
    filtered: Tensor, probs: Tensor, group: Tensor, num_groups: int, form: str
) -> tuple[Tensor, Tensor]:
    """Energy (G,) float32 and half gradient (B, K, H, W), in the memory of `filtered`.

    The derivative of the energy with respect to the maps is twice the half gradient. Where the
    group of a frame does not exist, `filtered` and all energies are NaN.
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
