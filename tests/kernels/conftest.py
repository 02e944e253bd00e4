"""Frames to filter: crops of real and of drawn clips, and seeded random textures."""

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from colocam.data.layouts.builtin import SIZES, draw_shot, draw_video
from colocam.kernels import gaussian_filter

SIGMA_RGB, SIGMA_XY = 15.0, 100.0
VIDEOS = (
    "person/juggle.mp4",
    "bird/swan.mp4",
    "dog/street.mp4",
    "cat/kitten.mp4",
    "tennis/court",
)


class Case(NamedTuple):
    """Frames and maps, and the exact filter of maps and of ones (the last channel)."""

    name: str
    images: Tensor  # (B, 3, H, W) uint8
    probs: Tensor  # (B, 2, H, W) float64
    group: Tensor  # (B,)
    sigma_xy: float | None
    features: Tensor  # (P, d) float64
    values: Tensor  # (P, 3) float64
    exact: Tensor  # (P, 3) float64

    @property
    def pixel_group(self) -> Tensor:
        return self.group.repeat_interleave(self.images[0, 0].numel())


def smooth_maps(frames, maps, height, width, seed=0, dtype=torch.float64):
    """Smooth random probability maps: (frames, maps, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(frames, maps, 4, 4, generator=generator, dtype=torch.float64) * 3
    scores = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return scores.softmax(1).to(dtype)


def textured_frames(frames, height, width, seed=0):
    """Colour blobs that move by a pixel per frame, a brightness gradient and noise: uint8."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(1, 3, 5, 5, generator=generator) * 200 + 20
    frame = F.interpolate(blobs, (height + frames, width), mode="bicubic", align_corners=False)
    moved = torch.cat([frame[:, :, k : k + height] for k in range(frames)])
    light = torch.linspace(-25, 25, width).view(1, 1, 1, width)
    grain = torch.randn(frames, 3, height, width, generator=generator) * 4
    return (moved + light + grain).round().clamp(0, 255).to(torch.uint8)


def features_of(images, sigma_rgb, sigma_xy, dtype=torch.float64):
    """Features in units of sigma, independent of the implementation: (P, 3) or (P, 5)."""
    frames, _, height, width = images.shape
    columns = [images[:, c].reshape(-1).to(dtype) / sigma_rgb for c in range(3)]
    if sigma_xy is not None:
        rows, cols = np.mgrid[:height, :width]
        for position in (cols, rows):
            flat = torch.from_numpy(np.tile(position.reshape(-1), frames)).to(dtype)
            columns.append(flat / sigma_xy)
    return torch.stack(columns, 1)


def naive_filter(values, features, group):
    """The definition as a double loop over Python floats, for few points."""
    v, f, g = values.tolist(), features.tolist(), group.tolist()
    out = [[0.0] * len(v[0]) for _ in v]
    for i in range(len(v)):
        for j in range(len(v)):
            if g[i] == g[j]:
                w = math.exp(-0.5 * sum((a - b) ** 2 for a, b in zip(f[i], f[j], strict=True)))
                for c in range(len(v[0])):
                    out[i][c] += w * v[j][c]
    return torch.tensor(out, dtype=torch.float64)


def naive_energy(images, probs, group, num_groups, sigma_rgb, sigma_xy, form):
    """The energies from the full matrix W, for few pixels."""
    f = features_of(images, sigma_rgb, sigma_xy)
    g = group.repeat_interleave(images[0, 0].numel())
    w = torch.exp(-0.5 * ((f[:, None] - f[None]) ** 2).sum(-1)) * (g[:, None] == g[None])
    s = probs.transpose(0, 1).flatten(1).double()  # (K, P)
    pixel = s * ((1 - s) @ w) if form == "cut" else -s * (s @ w)
    return torch.stack([pixel[:, g == k].sum() for k in range(num_groups)])


def read_frames(path: Path, count: int) -> list[np.ndarray]:
    if path.is_dir():
        frames = [cv2.imread(str(file)) for file in sorted(path.iterdir())[:count]]
    else:
        video = cv2.VideoCapture(str(path))
        frames = [video.read()[1] for _ in range(count)]
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames]


def centre_crop(frames: list[np.ndarray], size: int) -> Tensor:
    height, width = frames[0].shape[:2]
    y, x = (height - size) // 2, (width - size) // 2
    return torch.stack(
        [torch.from_numpy(f[y : y + size, x : x + size].copy()).permute(2, 0, 1) for f in frames]
    )


def make_case(name, images, sigma_xy):
    """A case by colour, with one group, or by colour and position, with a group per frame."""
    frames, _, height, width = images.shape
    probs = smooth_maps(frames, 2, height, width)
    group = torch.zeros(frames, dtype=torch.int64) if sigma_xy is None else torch.arange(frames)
    features = features_of(images, SIGMA_RGB, sigma_xy)
    values = probs.permute(0, 2, 3, 1).reshape(-1, 2)
    values = torch.cat([values, torch.ones(len(values), 1, dtype=torch.float64)], 1)
    pixel_group = group.repeat_interleave(height * width)
    # float32 for speed: relative error 1e-6
    exact = gaussian_filter(values.float(), features.float(), pixel_group, method="dense").double()
    return Case(name, images, probs, group, sigma_xy, features, values, exact)


@pytest.fixture(scope="session")
def synthetic_cases() -> list[Case]:
    frames = textured_frames(2, 40, 40)
    return [make_case("synthetic", frames, s) for s in (None, SIGMA_XY)]


@pytest.fixture(scope="session")
def real_clips(shared) -> dict[str, list[np.ndarray]]:
    """The first four frames of five clips, at half their size."""
    return {
        video: [
            cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            for frame in read_frames(shared / "clips" / video, 4)
        ]
        for video in VIDEOS
    }


@pytest.fixture(scope="session")
def real_cases(real_clips) -> list[Case]:
    """Crops of 32 to 128 pixels of five clips, one to four frames."""
    return cases_of(real_clips, 56)


@pytest.fixture(scope="session")
def drawn_cases() -> list[Case]:
    """Crops of 32 to 128 pixels of three clips of the built-in set, one to four frames."""
    clips = {}
    for label, size in enumerate(("large", "default", "default")):
        rng = np.random.default_rng([7, label])
        video = draw_video(SIZES[size], label, rng)
        clips[f"drawn {label}"] = draw_shot(SIZES[size], video, rng)[0][:4]
    return cases_of(clips, 44)


def cases_of(clips, size):
    """Per clip a crop of four frames of 32 pixels and two of `size`; of the first one of 128."""
    cases = []
    for k, (name, frames) in enumerate(clips.items()):
        crops = [centre_crop(frames, 32), centre_crop(frames[:2], size)]
        if k == 0:
            crops.append(centre_crop(frames[:1], 128))
        for crop in crops:
            cases += [make_case(f"{name} {tuple(crop.shape)}", crop, s) for s in (None, SIGMA_XY)]
    return cases


@pytest.fixture(scope="session")
def maps():
    return smooth_maps


@pytest.fixture(scope="session")
def textured():
    return textured_frames


@pytest.fixture(scope="session")
def features():
    return features_of


@pytest.fixture(scope="session")
def naive():
    return naive_filter


@pytest.fixture(scope="session")
def naive_crf():
    return naive_energy
