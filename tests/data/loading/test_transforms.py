"""Transforms: resizing, cropping, flipping, normalization."""

import numpy as np
import pytest
import torch
from PIL import Image

from colocam.data.decoding.resizing import resized, resized_map
from colocam.data.loading.transforms import Crop, augmented, to_tensor


@pytest.mark.parametrize("shape", [(40, 60), (47, 33), (9, 70), (12, 15), (20, 20)])
def test_frames_are_resized_as_by_pillow(shape):
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = np.asarray(Image.fromarray(frame).resize((20, 20), Image.Resampling.BILINEAR))
    assert np.abs(resized(frame, 20).astype(int) - expected).max() <= 1


def test_constant_neighbourhoods_keep_their_value_when_a_frame_shrinks():
    frame = np.zeros((60, 60, 3), np.uint8)
    frame[30:] = 200
    small = resized(frame, 20)
    assert (small[:9] == 0).all()
    assert (small[11:] == 200).all()


@pytest.mark.parametrize("change", ["read-only", "mirrored"])
def test_views_of_arrays_are_resized(change):
    frame = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    view = frame[:, ::-1] if change == "mirrored" else frame.view()
    view.flags.writeable = change != "read-only"
    assert np.array_equal(resized(view, 20), resized(view.copy(), 20))


@pytest.mark.parametrize("shape", [(10, 12), (10, 60), (60, 10), (32, 32)])
def test_frames_of_any_shape_are_resized_to_a_square(shape):
    frame = np.full((*shape, 3), (10, 20, 30), np.uint8)
    assert (resized(frame, 32) == (10, 20, 30)).all()
    assert resized(frame, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (1, 9), (28, 14), (64, 48), (64, 9)])
def test_a_resized_map_covers_the_whole_frame(shape):
    """A ramp along each axis is preserved, except for half a cell at its ends."""
    height, width = shape
    for ramp, axis in (
        (np.tile((np.arange(width) + 0.5) / width, (height, 1)), 0),
        (np.tile((np.arange(height)[:, None] + 0.5) / height, (1, width)), 1),
    ):
        found = resized_map(ramp.astype(np.float32), 32)
        assert found.shape == (32, 32)
        assert found.dtype == np.float32
        expected = (np.arange(32) + 0.5) / 32
        half = 0.5 / ramp.shape[1 - axis] + 1e-6
        assert np.abs(found.mean(axis) - expected.clip(half, 1 - half)).max() < 0.5 / 32
        assert np.ptp(found, axis=axis).max() < 1e-6


def test_a_resized_map_is_in_0_to_1():
    maps = (np.random.default_rng(0).random((50, 97, 83)) < 0.9).astype(np.float32)
    found = np.stack([resized_map(values, 32) for values in maps])
    assert found.min() >= 0
    assert found.max() == 1


def test_crops_have_all_positions_and_half_of_them_are_flipped():
    rng = np.random.default_rng(0)
    crops = [Crop.draw(8, 5, rng) for _ in range(400)]
    assert {(crop.x, crop.y) for crop in crops} == {(x, y) for x in range(4) for y in range(4)}
    assert all(crop.side == 5 for crop in crops)
    assert 0.4 < np.mean([crop.flip for crop in crops]) < 0.6


def test_a_crop_selects_its_rows_and_columns():
    frames = torch.arange(2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
    assert torch.equal(Crop(1, 2, 3, False)(frames), frames[..., 2:5, 1:4])
    assert torch.equal(Crop(1, 2, 3, True)(frames), frames[..., 2:5, 1:4].flip(3))
    for flip in (False, True):  # maps as frames
        crop = Crop(1, 2, 3, flip)
        assert torch.equal(crop(frames[:, 0]), crop(frames)[:, 0])


def test_each_sequence_of_a_batch_has_its_own_crop_and_flip():
    frames = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    crops = [Crop(0, 3, 5, True), Crop(2, 1, 5, False), Crop(3, 0, 5, True)]
    found = augmented(frames, crops, (2, 1, 3))
    assert torch.equal(found[:2], frames[:2, :, 3:, :5].flip(3))
    assert torch.equal(found[2:3], frames[2:3, :, 1:6, 2:7])
    assert torch.equal(found[3:], frames[3:, :, :5, 3:].flip(3))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(augmented(frames[:, 1], crops, (2, 1, 3)), found[:, 1])


def test_frames_are_stacked_to_a_channels_last_uint8_batch():
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8))
    images = to_tensor(frames)
    assert images.shape == (2, 3, 4, 5)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images[1, 2, 3, 4] == frames[1][3, 4, 2]
