"""Refinement of score maps by the joint CRF over the last frames of a video."""

import numpy as np
import pytest
import torch

from colocam.data.decoding.open import open_video
from colocam.losses.principal_features import principal_features
from colocam.postprocessing import Refinement
from colocam.postprocessing.refinement import FEATURE_SIGMA, SIGMA_RGB

SIDE = 12


@pytest.fixture
def video(shared):
    """Six consecutive frames as arrays and as a tensor, feature maps, and score maps."""
    generator = torch.Generator().manual_seed(0)
    clip = open_video(shared / "clips" / "dog" / "street.mp4", "street").read(range(6))
    frames = [np.ascontiguousarray(frame[200::20, 300::40][:SIDE, :SIDE]) for frame in clip]
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    features = torch.randn(len(frames), 5, 4, 4, generator=generator)
    return frames, images, features, torch.rand(len(frames), SIDE, SIDE, generator=generator)


def by_all_pairs(images, features, maps):
    """Refined map of the last frame, every pair of pixels summed in float64."""
    count = len(images)
    sequence = torch.zeros(count, dtype=torch.long)
    components = principal_features(features, sequence, 1, (SIDE, SIDE), FEATURE_SIGMA)
    points = torch.cat([images / SIGMA_RGB, components], 1).permute(0, 2, 3, 1).flatten(0, 2)
    weights = torch.exp(-0.5 * torch.cdist(points.double(), points.double()) ** 2)
    mean = (weights @ maps.double().flatten()) / weights.sum(1)
    return ((maps.double().flatten() + mean) / 2).view(count, SIDE, SIDE)[-1].float()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_refined_map_is_the_mean_of_the_score_and_that_of_like_pixels(video, count):
    frames, *tensors = video
    refined = Refinement(count).next(frames, *tensors)
    assert refined.min() >= 0
    assert refined.max() <= 1
    for place in range(len(frames)):
        window = slice(max(0, place - count + 1), place + 1)
        expected = by_all_pairs(*(tensor[window] for tensor in tensors))
        error = (refined[place] - expected).norm() / (expected - tensors[2][place]).norm()
        assert error < 0.1  # of the change, of which the lattice's error is a part


def test_the_result_does_not_depend_on_the_batches(video):
    frames, *tensors = video
    whole = Refinement(3).next(frames, *tensors)
    refinement, parts = Refinement(3), []
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        parts.append(refinement.next(frames[part], *(tensor[part] for tensor in tensors)))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)


def test_later_frames_change_nothing(video):
    frames, *tensors = video
    whole = Refinement(2).next(frames, *tensors)
    first = Refinement(2).next(frames[:3], *(tensor[:3] for tensor in tensors))
    torch.testing.assert_close(first, whole[:3], rtol=1e-4, atol=1e-5)


def test_frames_before_a_cut_are_not_used(video):
    frames, images, features, maps = video
    other = np.zeros_like(frames[0])
    other[:, SIDE // 2 :] = (250, 40, 40)
    frames = [*frames[:3], other, *[np.roll(other, 1, 0)] * 2]
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    whole = Refinement(3).next(frames, images, features, maps)
    after = Refinement(3).next(frames[3:], images[3:], features[3:], maps[3:])
    torch.testing.assert_close(whole[3:], after, rtol=1e-4, atol=1e-5)
    refinement = Refinement(3)  # a cut between two batches
    refinement.next(frames[:3], images[:3], features[:3], maps[:3])
    later = refinement.next(frames[3:], images[3:], features[3:], maps[3:])
    torch.testing.assert_close(later, after, rtol=1e-4, atol=1e-5)


def test_a_uniform_map_stays_as_it_is(video):
    frames, images, features, maps = video
    uniform = torch.full_like(maps, 0.3)
    torch.testing.assert_close(Refinement(2).next(frames, images, features, uniform), uniform)


def test_no_frame_at_all_is_refused():
    with pytest.raises(ValueError, match=r"frames: must be at least 1, got 0"):
        Refinement(0)
