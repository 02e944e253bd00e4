"""Overlay videos of a report: the frames and boxes they show."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.decoding.video_file import ImageFrames, VideoFrames, open_video
from colocam.data.records import BoxedFrame
from colocam.localization.drawing import GREEN
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.report.examples import make_examples
from colocam.report.overlay_videos import MOST, excerpt_around, frame_key, write_overlays
from colocam.report.pictures import GAP, TILE
from colocam.runtime.device import make_autocast

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 400), st.data())
def test_excerpt_is_consecutive_contains_its_frame_and_is_as_long_as_possible(count, data):
    index = data.draw(st.integers(0, count - 1))
    video = VideoFrames("/v.mp4", "cat/v.mp4", count, (64, 48))
    record = BoxedFrame("x", 0, "cat/v.mp4", video, index, ((1, 2, 3, 4),))
    excerpt = excerpt_around(record, {frame_key(video, index): record})
    numbers = [one.index for one in excerpt.records]
    assert len(numbers) == min(count, MOST)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert index in numbers
    assert numbers[-1] < count
    boxes = {one.index: one.boxes for one in excerpt.records if one.boxes}
    assert boxes == {index: ((1, 2, 3, 4),)}
    assert len({one.id for one in excerpt.records}) == len(numbers)


def test_single_image_is_shown_among_the_images_of_its_folder(tmp_path, write_video):
    folder = write_video(tmp_path / "shot", 5)
    paths = open_video(folder, "cat/shot").paths

    def record(place):
        frames = ImageFrames((paths[place],), f"cat/shot/{place}.png")
        return BoxedFrame(f"cat/shot/{place}.png", 0, "cat", frames, 0, ((place, 0, 9, 9),))

    known = {frame_key(one.frames, 0): one for one in map(record, (1, 3))}
    excerpt = excerpt_around(record(3), known)
    assert excerpt.name == "cat/shot"
    assert [one.index for one in excerpt.records] == [0, 1, 2, 3, 4]
    assert [one.boxes for one in excerpt.records] == [
        (), ((1, 0, 9, 9),), (), ((3, 0, 9, 9),), (),
    ]  # fmt: skip


@pytest.fixture
def examples_of():
    torch.manual_seed(0)
    info = CheckpointInfo("localizer", "resnet18", ("cat", "dog"), 64, "cam", 0, {})
    model = Localizer("resnet18", 2).eval()
    return partial(make_examples, model, info, device=CPU, autocast=make_autocast("off", CPU))


def test_overlay_shows_every_frame_with_its_ground_truth(tmp_path, write_video, examples_of):
    video = open_video(write_video(tmp_path / "clip.mp4", 7), "cat/clip.mp4")
    boxed = BoxedFrame("a", 0, "cat/clip.mp4", video, 3, ((5, 5, 40, 30),))
    written = write_overlays(tmp_path / "report", examples_of, {"best": boxed}, [boxed])
    assert written == [("best: cat/clip.mp4, frames 0 to 6", "overlays/best.mp4")]
    frames = list(open_video(tmp_path / "report" / "overlays" / "best.mp4", "overlay"))
    assert len(frames) == 7
    assert {frame.shape for frame in frames} == {(TILE, 3 * TILE + 2 * GAP, 3)}
    hues = [cv2.cvtColor(frame[:, :TILE], cv2.COLOR_RGB2HSV).astype(int) for frame in frames]
    wanted = int(cv2.cvtColor(np.uint8([[GREEN]]), cv2.COLOR_RGB2HSV)[0, 0, 0])
    green = [((abs(hue[..., 0] - wanted) < 6) & (hue[..., 1] > 120)).sum() for hue in hues]
    assert green.index(max(green)) == 3
    assert max(green) > 2 * sorted(green)[-2] + 100


def test_video_of_one_frame_is_skipped(tmp_path, write_video, examples_of):
    video = open_video(write_video(tmp_path / "clip", 1), "cat/clip")
    record = BoxedFrame("a", 0, "cat/clip", video, 0, ())
    written = write_overlays(tmp_path / "report", examples_of, {"best": record}, [record])
    assert written == []
    assert not (tmp_path / "report").exists()
