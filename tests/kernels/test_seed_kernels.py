"""The kernels of the seeds match `colocam.seeds`: on a GPU, or in Triton's interpreter."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from colocam import seeds
from colocam.seeds import BACKGROUND, FOREGROUND, IGNORED

pytest.importorskip("triton")

from colocam.kernels.seeds import sampling_triton

SETTINGS = [
    ("published", 20, 0.7, 0.1, "largest", True),  # as in published training
    ("published", 20, 0.3, 0.3, "largest", False),  # of the presets for real video
    ("published", 10_000, 0.3, 0.8, "largest", False),  # all candidates, and pixels of both classes
    ("published", 20, 0.7, 0.1, "densest", True),
    ("published", 20, 1.0, 0.01, "all", True),
    ("published", 20, 0.5, 0.5, "all", False),
    ("published", 20, 0.7, 0.1, "none", True),
    ("text", 1, 0.7, 0.1, "largest", True),
]


def blobs(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth maps with several blobs, min-max normalized: (count, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 5, 5, generator=generator) ** 3
    maps = F.interpolate(coarse, (height, width), mode="bilinear")[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def noise_like(cams: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return torch.rand(2, *cams.shape, generator=torch.Generator().manual_seed(seed))


def on_device(cams, noise, settings, device):
    """Seeds by the kernels."""
    return sampling_triton.seeds_from_noise(cams.to(device), noise.to(device), *settings).cpu()


def labelled(masks: np.ndarray) -> np.ndarray:
    """Index in the batch of the first pixel of each pixel's region, by OpenCV."""
    labels = np.full(masks.shape, masks.size)
    for number, mask in enumerate(masks):
        _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        _, first = np.unique(parts.reshape(-1), return_index=True)
        of_pixels = first[parts - parts.min()] + number * mask.size
        labels[number] = np.where(mask, of_pixels, masks.size)
    return labels


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=3, max_dims=3, max_side=12)))
@settings(deadline=None, max_examples=30)
def test_regions_match_opencv(device, masks):
    got = sampling_triton.connected_regions(torch.from_numpy(masks).to(device))
    np.testing.assert_array_equal(got.cpu(), labelled(masks))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.65])
def test_regions_of_random_pixels_match_opencv(device, share):
    masks = np.random.default_rng(4).random((2, 45, 70)) < share
    got = sampling_triton.connected_regions(torch.from_numpy(masks).to(device))
    np.testing.assert_array_equal(got.cpu(), labelled(masks))


@pytest.mark.parametrize("turned", [False, True])
def test_regions_of_combs_and_rings_match_opencv(device, turned):
    comb = np.zeros((2, 40, 40), bool)
    comb[:, :, ::2] = True
    comb[0, -1] = True
    comb[1] = np.add.outer(np.abs(np.arange(40) - 20), np.abs(np.arange(40) - 19)) % 4 < 2
    masks = comb.transpose(0, 2, 1).copy() if turned else comb
    got = sampling_triton.connected_regions(torch.from_numpy(masks).to(device))
    np.testing.assert_array_equal(got.cpu(), labelled(masks))


@pytest.mark.parametrize("options", SETTINGS)
def test_seeds_match_those_of_tensor_operations(device, options):
    cams = torch.cat([blobs(3, 36, 45), torch.full((1, 36, 45), 0.4)])
    noise = noise_like(cams)
    expected = seeds.seeds_from_noise(cams, noise, *options)
    assert torch.equal(on_device(cams, noise, options, device), expected)
    assert (expected[-1] == IGNORED).all()
    assert set(expected[0].unique().tolist()) == {BACKGROUND, FOREGROUND, IGNORED}


@given(
    npst.arrays(np.float32, (2, 7, 9), elements=st.floats(0, 1, width=16)),
    st.sampled_from(SETTINGS),
    st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=10)
def test_seeds_of_any_maps_match_those_of_tensor_operations(device, levels, options, seed):
    """Maps with ties, of one level, of zeros."""
    cams = torch.from_numpy(levels)
    noise = noise_like(cams, seed)
    expected = seeds.seeds_from_noise(cams, noise, *options)
    assert torch.equal(on_device(cams, noise, options, device), expected)


def test_seeds_of_real_frames_match_those_of_tensor_operations(device, real_clips):
    """Brightness as CAM: Otsu's regions are many and ragged."""
    frames = [clip[0] for clip in list(real_clips.values())[:2]]
    gray = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (72, 72)) for frame in frames]
    cams = torch.from_numpy(np.stack(gray)).float() / 255
    noise = noise_like(cams)
    for options in SETTINGS[:2]:
        expected = seeds.seeds_from_noise(cams, noise, *options)
        assert torch.equal(on_device(cams, noise, options, device), expected)


def test_extreme_noise_is_sampled(device):
    cams = torch.linspace(0.1, 1, 64).view(1, 8, 8)
    noise = torch.zeros(2, 1, 8, 8)
    noise[1] = 1 - 2**-24
    options = ("published", 100, 1.0, 0.1, "none", False)
    expected = seeds.seeds_from_noise(cams, noise, *options)
    assert torch.equal(on_device(cams, noise, options, device), expected)
    assert (expected == FOREGROUND).any()


def test_seeds_take_eighteen_launches_at_most(device, monkeypatch):
    """Of Triton kernels; besides, one fill of zeros, the noise, and the choice of the region."""
    launched = []

    class Counted:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            launched.append(self.kernel)
            return self.kernel[grid]

    names = [name for name, value in vars(sampling_triton).items() if hasattr(value, "fn")]
    assert len(names) > 8
    for name in names:
        monkeypatch.setattr(sampling_triton, name, Counted(getattr(sampling_triton, name)))
    cams = blobs(2, 16, 16)
    on_device(cams, noise_like(cams), SETTINGS[0], device)
    assert 0 < len(launched) <= 18
