"""Postprocessed score maps of single frames, from the earlier frames of their videos."""

import shutil

import cv2
import numpy as np
import pytest

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.open import open_video
from colocam.data.records import BoxedFrame
from colocam.postprocessing import Postprocessing, Smoothing, video_scores
from colocam.postprocessing.smoothing import NEGLIGIBLE, frames_back

HALF = Postprocessing(smooth=0.5)


@pytest.fixture
def shot(tmp_path):
    """Folder of frames of slowly increasing brightness."""
    folder = tmp_path / "shot"
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.full((20, 30, 3), 100 + number, np.uint8))
    return folder


def infer(frames):
    """Constant maps of the mean brightness of a frame."""
    return np.stack([np.full((4, 4), frame.mean() / 255, np.float32) for frame in frames])


def expected(values, share):
    mean = values[0]
    for value in values[1:]:
        mean = share * mean + (1 - share) * value
    return mean / 255


def record_of(folder, number):
    return BoxedFrame("a", 0, "shot", open_video(folder, "shot"), number, ())


def test_frames_back_covers_the_weights_that_are_not_negligible():
    for share in (0.1, 0.5, 0.7, 0.9):
        assert share ** (frames_back(share) + 1) <= NEGLIGIBLE < share ** frames_back(share)


@pytest.mark.parametrize("number", [0, 1, 5, 11])
def test_smoothed_map_is_the_running_mean_over_the_earlier_frames(shot, number):
    (found,) = video_scores.video_scores([record_of(shot, number)], infer, HALF)
    values = [100 + place for place in range(max(0, number - frames_back(0.5)), number + 1)]
    np.testing.assert_allclose(found, expected(values, 0.5), rtol=1e-6)
    whole = expected([100 + place for place in range(number + 1)], 0.5)
    assert abs(found.mean() - whole) < NEGLIGIBLE * 12 / 255


def test_earlier_frames_of_a_single_image_are_those_of_its_folder(shot):
    alone = ImageFrames((str(shot / "03.png"),), "cat/shot/03.png")
    (found,) = video_scores.video_scores([BoxedFrame("a", 0, "cat", alone, 0, ())], infer, HALF)
    np.testing.assert_allclose(found, expected([100, 101, 102, 103], 0.5), rtol=1e-6)


def test_unreadable_frames_are_skipped_and_a_cut_resets_the_mean(shot):
    (shot / "04.png").write_bytes(b"")
    (found,) = video_scores.video_scores([record_of(shot, 5)], infer, HALF)
    np.testing.assert_allclose(found, expected([100, 101, 102, 103, 105], 0.5), rtol=1e-6)
    for number in (6, 7):
        other = np.zeros((20, 30, 3), np.uint8)
        other[:, 15:] = (250, 40, 40 + number)
        cv2.imwrite(str(shot / f"{number:02d}.png"), other)
    (found,) = video_scores.video_scores([record_of(shot, 7)], infer, HALF)
    own = [float(infer([frame]).mean()) for frame in open_video(shot, "shot").read([6, 7])]
    np.testing.assert_allclose(found, (own[0] + own[1]) / 2, rtol=1e-6)


def test_frames_that_several_records_share_are_computed_once(shot, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(shot, other)
    (shot / "06.png").write_bytes(b"")
    order = [(shot, n) for n in (4, 5, 7, 8, 7)] + [(other, n) for n in (7, 9)]
    records = [record_of(*one) for one in order]
    computed = []

    def counted(frames):
        computed.append(len(frames))
        return infer(frames)

    found = video_scores.video_scores(records, counted, HALF)
    one_by_one = [video_scores.video_scores([record], infer, HALF)[0] for record in records]
    np.testing.assert_array_equal(found, one_by_one)
    back = frames_back(0.5)  # 5: frames 0 to 8 without 6, then 2 to 7, then 2 to 9
    assert computed == [8, back, back + 3]


def test_runs_of_frames_are_bounded(shot, monkeypatch):
    monkeypatch.setattr(video_scores, "MOST_FRAMES", 8)
    records = [record_of(shot, number) for number in range(12)]
    computed = []
    found = video_scores.video_scores(records, lambda f: computed.append(len(f)) or infer(f), HALF)
    assert max(computed) <= 8
    assert len(found) == 12


@pytest.mark.parametrize(("smooth", "refine"), [(None, 3), (0.5, 3), (None, 1)])
def test_maps_are_those_of_the_whole_video(shot, smooth, refine):
    """The refined map of these frames is the mean brightness of the last three."""
    settings = Postprocessing(smooth, refine)

    def refined(frames):
        means = [frame.mean() / 255 for frame in frames]
        windows = [means[max(0, k - refine + 1) : k + 1] for k in range(len(means))]
        return np.stack([np.full((4, 4), np.mean(window)) for window in windows])

    records = [record_of(shot, number) for number in (0, 1, 6, 11)]
    found = video_scores.video_scores(records, refined, settings)
    frames = open_video(shot, "shot").read(range(12))
    whole = refined(frames)
    if smooth is not None:
        smoothing = Smoothing(smooth)
        whole = [smoothing.next(one, frame) for one, frame in zip(whole, frames, strict=True)]
    np.testing.assert_allclose(found, [whole[n] for n in (0, 1, 6, 11)], atol=2 * NEGLIGIBLE / 255)


def test_settings_are_described_in_words():
    assert not Postprocessing()
    assert Postprocessing().describe() == ""
    assert Postprocessing(0.3, 2).describe() == "refined over 2 frames, smoothed 0.3"
    assert Postprocessing(refine=1).describe() == "refined over 1 frame"
