"""Small crops, and reference energies of Eq. 2 and 4 from explicit pair matrices."""

import cv2
import numpy as np
import pytest
import torch

HEIGHT, WIDTH = 12, 14
SEQUENCE = (0, 0, 0, 1, 1)  # the sequence of each of the five frames of `crops`


def textured_frames() -> np.ndarray:
    """Two videos, of three and two frames: a uniform disk moves over stripes, with noise."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = []
    for t, video in enumerate(SEQUENCE):
        ground = np.stack([90 + 40 * np.sin(x + video), 120 + 30 * np.cos(y), 60 + 4 * x], -1)
        disk = (x - 4 - t) ** 2 + (y - 6) ** 2 < 12
        ground[disk] = (200, 60 + 80 * video, 40)
        frames.append(ground + rng.normal(0, 4, ground.shape))
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def real_frames(clips) -> np.ndarray:
    """Crops of two real videos, three frames and two."""
    frames = []
    for name, numbers in (("bird/swan.mp4", (0, 10, 20)), ("person/juggle.mp4", (0, 60))):
        capture = cv2.VideoCapture(str(clips / name))
        for number in range(max(numbers) + 1):
            _, frame = capture.read()
            if number in numbers:
                small = cv2.resize(frame, (64, 36), interpolation=cv2.INTER_AREA)
                frames.append(small[12 : 12 + HEIGHT, 25 : 25 + WIDTH, ::-1])
    return np.stack(frames)


@pytest.fixture(params=["textured", "real"])
def crops(request) -> torch.Tensor:
    """Five frames (5, 3, 12, 14) uint8 of the two sequences `SEQUENCE`."""
    if request.param == "real":
        frames = real_frames(request.getfixturevalue("shared") / "clips")
    else:
        frames = textured_frames()
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def sequence() -> torch.Tensor:
    return torch.tensor(SEQUENCE)


@pytest.fixture
def logits() -> torch.Tensor:
    """Maps before softmax for the crops (5, 2, 12, 14), float64."""
    generator = torch.Generator().manual_seed(3)
    return 1.5 * torch.randn(5, 2, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)


def pair_weights(images, sigma_rgb, sigma_xy=None) -> np.ndarray:
    """W over all pairs of pixels of frames (T, 3, H, W): (T·H·W, T·H·W) float64."""
    images = np.asarray(images, dtype=np.float64)
    colors = images.transpose(0, 2, 3, 1).reshape(-1, 3)
    exponent = ((colors[:, None] - colors[None]) ** 2).sum(-1) / (2 * sigma_rgb**2)
    if sigma_xy is not None:
        y, x = np.mgrid[: images.shape[2], : images.shape[3]]
        position = np.tile(np.stack([x, y], -1).reshape(-1, 2), (len(images), 1)).astype(np.float64)
        exponent += ((position[:, None] - position[None]) ** 2).sum(-1) / (2 * sigma_xy**2)
    return np.exp(-exponent)


def energy_of_pairs(images, probs, form, sigma_rgb, sigma_xy=None) -> float:
    """Energy of one group of frames, map by map as in Eq. 2 and 4."""
    weights = pair_weights(images, sigma_rgb, sigma_xy)
    energy = 0.0
    for scores in np.asarray(probs, dtype=np.float64).transpose(1, 0, 2, 3):
        scores = scores.reshape(-1)
        other = 1 - scores if form == "cut" else -scores
        energy += float(scores @ weights @ other)
    return energy


@pytest.fixture(name="pair_weights")
def _pair_weights():
    return pair_weights


@pytest.fixture(name="energy_of_pairs")
def _energy_of_pairs():
    return energy_of_pairs
