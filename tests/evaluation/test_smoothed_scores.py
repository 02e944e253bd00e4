"""Score maps of single frames, smoothed with what their videos showed before."""

import cv2
import numpy as np
import pytest

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.open import open_video
from colocam.data.records import BoxedFrame
from colocam.evaluation.smoothed_scores import FORGOTTEN, frames_back, smoothed_scores


@pytest.fixture
def shot(tmp_path):
    """A folder of frames that grow brighter, little by little."""
    folder = tmp_path / "shot"
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.full((20, 30, 3), 100 + number, np.uint8))
    return folder


def infer(frames):
    """Maps that say how bright a frame is."""
    return np.stack([np.full((4, 4), frame.mean() / 255, np.float32) for frame in frames])


def expected(values, share):
    mean = values[0]
    for value in values[1:]:
        mean = share * mean + (1 - share) * value
    return mean / 255


def record_of(folder, number):
    return BoxedFrame("a", 0, "shot", open_video(folder, "shot"), number, ())


def test_frames_before_count_as_far_as_they_are_not_forgotten():
    for share in (0.1, 0.5, 0.7, 0.9):
        assert share ** (frames_back(share) + 1) <= FORGOTTEN < share ** frames_back(share)


@pytest.mark.parametrize("number", [0, 1, 5, 11])
def test_a_map_is_the_running_mean_over_the_frames_before(shot, number):
    (found,) = smoothed_scores([record_of(shot, number)], infer, 0.5)
    values = [100 + place for place in range(max(0, number - frames_back(0.5)), number + 1)]
    np.testing.assert_allclose(found, expected(values, 0.5), rtol=1e-6)
    whole = expected([100 + place for place in range(number + 1)], 0.5)
    assert abs(found.mean() - whole) < FORGOTTEN * 12 / 255


def test_an_image_of_its_own_has_those_of_its_folder_before_it(shot):
    alone = ImageFrames((str(shot / "03.png"),), "cat/shot/03.png")
    (found,) = smoothed_scores([BoxedFrame("a", 0, "cat", alone, 0, ())], infer, 0.5)
    np.testing.assert_allclose(found, expected([100, 101, 102, 103], 0.5), rtol=1e-6)


def test_frames_that_cannot_be_decoded_are_passed_over_and_a_cut_begins_anew(shot):
    (shot / "04.png").write_bytes(b"")
    (found,) = smoothed_scores([record_of(shot, 5)], infer, 0.5)
    np.testing.assert_allclose(found, expected([100, 101, 102, 103, 105], 0.5), rtol=1e-6)
    for number in (6, 7):
        other = np.zeros((20, 30, 3), np.uint8)
        other[:, 15:] = (250, 40, 40 + number)
        cv2.imwrite(str(shot / f"{number:02d}.png"), other)
    (found,) = smoothed_scores([record_of(shot, 7)], infer, 0.5)
    own = [float(infer([frame]).mean()) for frame in open_video(shot, "shot").read([6, 7])]
    np.testing.assert_allclose(found, (own[0] + own[1]) / 2, rtol=1e-6)
