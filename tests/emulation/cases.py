"""Runs the Triton kernels as compiled for a GPU in an emulator of its instructions; see test_ptx.

    python cases.py EMULATOR RESULTS

Writes a JSON object: per schedule and case the largest difference to the PyTorch backend,
a hash of the result and the faults that the emulator found; the kernels that were launched, and all
there are. TRITON_INTERPRET must not be set: kernels have the block sizes of a GPU.
"""

import hashlib
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from triton.runtime.jit import JITFunction

import colocam.kernels
from colocam import seeds
from colocam.kernels import arguments, backend_torch, backend_triton, launch
from colocam.kernels.color_grid import grid_triton
from colocam.kernels.ops import crf_energy, gaussian_filter
from colocam.kernels.permutohedral import lattice_triton
from colocam.kernels.seeds import sampling_triton

sys.path.insert(0, sys.argv[1])
hook = importlib.import_module("ptxemu.hook")
Options = importlib.import_module("ptxemu.engine").Options
hook.KNOWN += (
    # parents that other programs replace are read, as they may be: see `join_rows`
    ("weak-read-of-atomic", "regions_triton.py", "ld.", ".min."),
    # marks that other programs set are read, as they may be: see `mark_levels`
    ("weak-read-of-atomic", "level_kernels_triton.py", "ld.", ".or."),
    # seeds are bytes, and the emulator watches words of four
    ("race-global-write-write", "pixels_triton.py", "st.global.b8", "st.global.b8"),
)
SESSION = hook.install()

arguments.INTERPRETED = True  # CPU tensors may go to Triton's kernels
PROGRAMS = 24  # of kernels that walk through lists
SLOW = {"grid, sigma 12"}  # run in one schedule only

# How warps and programs take turns: many at once in small steps, warps that stand still for long
# and copies that arrive late, and one program after the other. In the first, divisions are
# inaccurate by chance, as they may be on a GPU.
PROFILES = {
    "fine": Options(resident=32, burst=2, split=0.1, its=0.2, stale=0.3, defer=0.5, ulps=2),
    "lagging": Options(resident=16, burst=100, freeze=0.02, stale=0.1, defer=1.0),
    "serial": Options(resident=1, burst=1000, freeze=0.001, defer=1.0),
}

Results = tuple[Tensor, ...]


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def frames(count: int, height: int, width: int) -> Tensor:
    """Two smooth regions with noise: (count, 3, height, width) uint8."""
    noise = torch.randn(count, 3, height, width, generator=seeded(0)) * 3
    rows = torch.linspace(0, 1, height)[:, None].expand(height, width)
    sky = torch.stack([90 + 60 * rows, 120 + 70 * rows, 200 + 40 * rows])
    ground = torch.stack([110 - 50 * rows, 90 + 30 * rows, 40 + 20 * rows])
    return (torch.where(rows > 0.55, ground, sky) + noise).clamp(0, 255).round().to(torch.uint8)


def maps(count: int, kinds: int, height: int, width: int) -> Tensor:
    """Maps that sum to 1: (count, kinds, height, width)."""
    logits = torch.randn(count, kinds, height, width, generator=seeded(1))
    return logits.mul(2).softmax(1)


def energy(
    images: Tensor, probs: Tensor, group: list[int], groups: int, **how: Any
) -> Callable[[str], Results]:
    """Energy and gradient, by the function that users call."""

    def run(backend: str) -> Results:
        leaf = probs.detach().requires_grad_()
        energies = crf_energy(
            images, leaf, torch.tensor(group), num_groups=groups, backend=backend, **how
        )
        (gradient,) = torch.autograd.grad((energies * torch.arange(1.0, 1 + groups)).sum(), leaf)
        return energies.detach(), gradient

    return run


def filtered(
    features: Tensor, channels: int, method: str, group: Tensor, groups: int
) -> Callable[[str], Results]:
    """Filtered values and their gradient, by the function that users call."""
    values = torch.rand(len(features), channels, generator=seeded(2))

    def run(backend: str) -> Results:
        leaf = values.clone().requires_grad_()
        out = gaussian_filter(
            leaf, features, group, num_groups=groups, method=method, backend=backend
        )
        (gradient,) = torch.autograd.grad((out * values.flip(0)).sum(), leaf)
        return out.detach(), gradient

    return run


def spiral(side: int) -> Tensor:
    """A path of one pixel width from the corner to the centre: (side, side) bool."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    for ring in range(0, (side + 1) // 2, 2):
        end = side - 1 - ring
        mask[ring, max(0, ring - 2) : end + 1] = mask[end, ring : end + 1] = True
        mask[ring : end + 1, end] = mask[ring + 2 : end + 1, ring] = True
    return mask


def regions(masks: Tensor) -> Callable[[str], Results]:
    """Labels of the connected regions of masks."""

    def run(backend: str) -> Results:
        on_gpu = backend == "triton"
        labels = (sampling_triton if on_gpu else seeds).connected_regions(masks)
        return (labels.double(),)

    return run


def drawn(count: int, height: int, width: int, *settings: Any) -> Callable[[str], Results]:
    """Seeds of smooth maps with several blobs, the last of several constant."""
    coarse = torch.rand(count, 1, 4, 4, generator=seeded(4)) ** 3
    cams = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[:, 0]
    if count > 1:
        cams[-1] = 0.3
    noise = torch.rand(2, *cams.shape, generator=seeded(5))

    def run(backend: str) -> Results:
        on_gpu = backend == "triton"
        return (
            (sampling_triton if on_gpu else seeds).seeds_from_noise(cams, noise, *settings).float(),
        )

    return run


def invalid(
    images: Tensor, group: list[int], method: str, sigma_xy: float | None
) -> Callable[[str], Results]:
    """Content that is not checked on a GPU: NaN for groups with invalid frames, for all if a group
    does not exist.
    """
    groups = 3
    probs = maps(len(images), 2, *images.shape[2:])
    number = torch.tensor(group)

    def run(backend: str) -> Results:
        how = (groups, 30.0, sigma_xy, "cut", method)
        if backend == "triton":
            return backend_triton.energy_and_half_grad(images, probs, number, *how)
        energies = torch.full((groups,), torch.nan)
        half_grad = torch.full_like(probs, torch.nan)
        if number.min() >= 0 and number.max() < groups:
            valid = images.float().nan_to_num(-1).flatten(1).clamp(0, 255) == images.flatten(1)
            bad = set(number[~valid.all(1)].tolist())
            kept = torch.tensor([one not in bad for one in group])
            inputs = images[kept], probs[kept], number[kept]
            known, half_grad[kept] = backend_torch.energy_and_half_grad(*inputs, *how)
            good = [one for one in range(groups) if one not in bad]
            energies[good] = known[good]
        return energies, half_grad

    return run


def cases() -> Iterator[tuple[str, Callable[[str], Results], int | None]]:
    """Name, call, and bytes of a pass (None: as many as usual)."""
    three, even = frames(3, 13, 21), frames(2, 16, 24)
    one_color = torch.full((2, 3, 8, 24), 77, dtype=torch.uint8)
    last = three.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last in memory
    methods = {
        "grid": {"method": "grid", "sigma_rgb": 30.0},
        "lattice d=3": {"method": "permutohedral", "sigma_rgb": 15.0},
        "lattice d=5": {"method": "permutohedral", "sigma_rgb": 15.0, "sigma_xy": 12.0},
    }
    two, odd = {"form": "association"}, {"form": "cut"}
    for name, how in methods.items():
        yield f"{name}, K=2", energy(even, maps(2, 2, 16, 24), [0, 1], 2, **how, **two), None
        yield f"{name}, K=3", energy(even, maps(2, 3, 16, 24), [0, 0], 1, **how, **odd), None
        yield (
            f"{name}, absent groups, channels last",
            energy(last, maps(3, 2, 13, 21), [4, 1, 4], 6, **how, **two),
            None,
        )
        yield (
            f"{name}, one colour",
            energy(one_color, maps(2, 2, 8, 24), [0, 0], 1, **how, **two),
            None,
        )
        yield (
            f"{name}, passes",
            energy(three, maps(3, 3, 13, 21), [2, 0, 1], 3, **how, **odd),
            2**20,
        )
        broken = three.float()
        broken[1, 2, 3, 4], broken[1, 0, 12, 20] = torch.nan, 256.0
        sigma_xy = how.get("sigma_xy")
        for what, images, group in (
            ("invalid colours", broken, [0, 1, 2]),
            ("a group too high", three, [0, 1, 9]),
            ("a negative group", three, [-5, 1, 2]),
        ):
            yield f"{name}, {what}", invalid(images, group, str(how["method"]), sigma_xy), None
    yield (
        "grid, sigma 12",
        energy(even, maps(2, 2, 16, 24), [0, 1], 2, method="grid", sigma_rgb=12.0, **two),
        None,
    )
    generator = seeded(3)
    for d in range(1, 6):
        count = 300 if d < 5 else 150
        features = torch.randn(count, d, generator=generator) * 2
        group = torch.randint(0, 4, (count,), generator=generator)
        for method, channels in (("permutohedral", 1), ("permutohedral", 3),
                                 ("permutohedral-published", 2)):  # fmt: skip
            yield (
                f"filter {method}, d={d}, C={channels}",
                filtered(features, channels, method, group, 6),
                None,
            )
    yield (
        "colour and features",
        energy(
            even, maps(2, 2, 16, 24), [0, 0], 1, method="permutohedral", sigma_rgb=15.0,
            features=torch.randn(2, 2, 16, 24, generator=generator), **two,
        ),
        None,
    )  # fmt: skip
    hard = torch.stack(
        [spiral(40), spiral(40).flip(0), torch.rand(40, 40, generator=generator) < 0.6]
    )
    yield "regions, winding and random", regions(hard), None
    yield "regions, odd shape", regions(torch.rand(2, 9, 150, generator=generator) < 0.55), None
    for scheme, pixels, region, box in (
        ("published", 20, "largest", True), ("published", 9999, "largest", False),
        ("published", 20, "densest", True), ("published", 20, "all", True),
        ("published", 20, "none", False), ("text", 1, "largest", True),
    ):  # fmt: skip
        yield (
            f"seeds {scheme}, {pixels} of {region}, box {box}",
            drawn(3, 30, 41, scheme, pixels, 0.3, 0.3, region, box),
            None,
        )
    yield "seeds of one image", drawn(1, 30, 41, "published", 20, 0.3, 0.3, "largest", True), None
    features = torch.randn(200, 3, generator=generator) * 1.5
    yield "filter grid", filtered(features, 2, "grid", torch.zeros(200, dtype=torch.long), 1), None


def difference(results: Results, expected: Results) -> float:
    """Largest difference relative to the largest value; infinite if NaN are at other places."""
    worst = 0.0
    for ours, theirs in zip(results, expected, strict=True):
        if not torch.equal(ours.isnan(), theirs.isnan()):
            return float("inf")
        if (valid := ~theirs.isnan()).any():
            scale = theirs[valid].abs().max().clamp_min(1e-30)
            worst = max(worst, float((ours - theirs)[valid].abs().max() / scale))
    return worst


def digest(result: Tensor) -> str:
    """Hash of the bits; all NaN count as equal."""
    return hashlib.sha256(
        result.nan_to_num(nan=-12345.0).contiguous().numpy().tobytes()
    ).hexdigest()


def kernels() -> set[str]:
    """Names of the Triton functions in colocam.kernels that the host launches, as name[grid]."""
    found = pkgutil.walk_packages(colocam.kernels.__path__, "colocam.kernels.")
    modules = [importlib.import_module(module.name) for module in found]
    sources = "".join(inspect.getsource(module) for module in modules)
    return {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, JITFunction) and re.search(rf"\b{name}\[", sources)
    }


def run_cases(profile: str) -> tuple[dict[str, Any], set[str]]:
    """Results by case, and names of the kernels that were launched."""
    usual = launch.scratch_bytes
    found, launched = {}, set()
    for number, (name, run, limit) in enumerate(cases()):
        if name in SLOW and profile != "fine":
            continue
        expected = run("torch")
        launch.scratch_bytes = usual if limit is None else lambda device, limit=limit: limit
        SESSION.reset(replace(PROFILES[profile], seed=number + 1))
        with hook.poisoned_empty():
            results = run("triton")
        launch.scratch_bytes = usual
        launched |= set(SESSION.kernels)
        found[name] = {
            "difference": difference(results, expected),
            "faults": [str(fault) for fault in SESSION.faults],
            "bits": [digest(result) for result in results],
        }
    return found, launched


def main(path: Path) -> None:
    for module in (grid_triton, lattice_triton):
        module.persistent_programs = lambda device: PROGRAMS
    grid_triton.MANY = 384  # sums of single groups have copies
    results = {profile: run_cases(profile) for profile in PROFILES}
    everything = {
        "cases": {profile: found for profile, (found, _) in results.items()},
        "launched": sorted(set().union(*(launched for _, launched in results.values()))),
        "kernels": sorted(kernels()),
    }
    path.write_text(json.dumps(everything))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
