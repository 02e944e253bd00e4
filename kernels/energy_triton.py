"""From filtered maps to the energy and its gradient, as one Triton kernel."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from colocam.kernels.launch import block, ceil_div


@triton.jit
def pull_and_energy(
    filtered, maps, group, energy, plane, width, maps_f, maps_c, maps_y, maps_x, num_groups,
    MAPS: tl.constexpr, CUT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """filtered (F, MAPS, plane) becomes the pull, in place; energy[group] += its product with maps.

    A program works on some pixels of one frame. The pull is the filtered map with its sign turned,
    or, CUT, the sum of the other maps, without subtracting anything.
    """
    blocks = tl.cdiv(plane, BLOCK)
    frame = tl.program_id(0).to(tl.int64) // blocks
    pixel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < plane
    y = pixel // width
    value_at = maps + frame * maps_f + y * maps_y + (pixel - y * width) * maps_x
    pull_at = filtered + frame * (MAPS * plane) + pixel
    whole = ()
    for c in tl.static_range(MAPS):
        whole = whole + (tl.load(pull_at + c * plane, mask=inside, other=0.0),)
    total = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(MAPS):
        pull = -whole[c]
        if CUT:
            pull = tl.zeros((BLOCK,), tl.float32)
            for other in tl.static_range(MAPS):
                if other != c:
                    pull += whole[other]
        value = tl.load(value_at + c * maps_c, mask=inside, other=0.0).to(tl.float32)
        tl.store(pull_at + c * plane, pull, mask=inside)
        total += value * pull
    # many terms: float32 would be too short
    number = tl.load(group + frame)
    exists = (number >= 0) & (number < num_groups)
    tl.atomic_add(energy + number, tl.sum(total.to(tl.float64), axis=0), mask=exists, sem="relaxed")
    if exists == 0:
        spoilt = tl.full((), 0, tl.int64)
        while spoilt < num_groups:  # those without frames too, which would be a plausible 0
            tl.store(energy + spoilt, float("nan"))
            spoilt += 1


def finish(
    filtered: Tensor, probs: Tensor, group: Tensor, num_groups: int, form: str
) -> tuple[Tensor, Tensor]:
    """Energy (G,) float32 and pull (B, K, H, W); `filtered`, contiguous, is used up.

    The energy's derivative with respect to the maps is twice the pull. Where a frame's group does
    not exist, `filtered` is NaN everywhere, and so are all energies.
    """
    frames, maps, height, width = probs.shape
    energy = torch.zeros(num_groups, dtype=torch.float64, device=probs.device)
    if probs.numel():
        plane = height * width
        size = block(1024 if maps <= 4 else 128)  # pixels a program
        pull_and_energy[(frames * ceil_div(plane, size),)](
            filtered, probs, group, energy, plane, width, *probs.stride(), num_groups,
            MAPS=maps, CUT=form == "cut", BLOCK=size,
        )  # fmt: skip
    return energy.to(torch.float32), filtered
