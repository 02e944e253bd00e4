"""Overlay frames: box, label and heat map."""

from dataclasses import replace

import numpy as np
import pytest

from colocam.localization.drawing import track_color
from colocam.localization.inference import Localization
from colocam.localization.overlay import draw_missing, draw_result

MAP = np.zeros((64, 64), np.float32)
MAP[:, 32:] = 1


def result_of(box, name="cat"):
    return Localization(name, 0.25, box, 0.5, MAP, 0.2)


def is_red(picture):
    return (picture[..., 0] > 200) & (picture[..., 1] < 80)


@pytest.mark.parametrize("box", [(120, 60, 260, 180), (0, 0, 299, 199), (250, 3, 299, 30)])
def test_box_is_drawn_in_red_and_the_frame_is_not_modified(box):
    frame = np.full((200, 300, 3), 90, np.uint8)
    red = is_red(draw_result(frame, result_of(box)))
    assert (frame == 90).all()
    ys, xs = np.nonzero(red)
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == box
    assert red[box[1], box[0] : box[2] + 1].all()  # not covered by the label
    assert red[box[1] : box[3] + 1, [box[0], box[2]]].all()


def test_label_has_a_dark_background_above_the_box_or_inside_it():
    frame = np.full((200, 300, 3), 200, np.uint8)
    dark = (draw_result(frame, result_of((100, 80, 250, 150))) < 100).all(axis=-1)
    ys, xs = np.nonzero(dark)
    assert xs.min() == 100
    assert 50 < ys.min() < ys.max() < 80
    ys, _ = np.nonzero((draw_result(frame, result_of((100, 2, 250, 150))) < 100).all(axis=-1))
    assert 2 <= ys.min() < ys.max() < 40


def test_frame_without_a_box_is_labelled_with_its_class():
    frame = np.full((200, 300, 3), 90, np.uint8)
    picture = draw_result(frame, result_of(None))
    assert not is_red(picture).any()
    assert (picture[:30] != frame[:30]).any()
    assert (picture[60:] == frame[60:]).all()


def test_heat_map_is_bright_where_the_score_is_high():
    frame = np.full((200, 300, 3), 90, np.uint8)
    picture = draw_result(frame, result_of(None), heat=True).astype(int)
    assert picture[100:, 200:].mean() > picture[100:, :100].mean() + 20
    assert picture.shape == frame.shape


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2), (48, 64), (40, 2000)])
def test_frames_of_any_size_and_names_of_any_length_can_be_drawn(shape):
    frame = np.zeros((*shape, 3), np.uint8)
    box = (0, 0, shape[1] - 1, shape[0] - 1)
    for name in ("cat", "größe", "a class of a rather long name " * 5):
        for picture in (
            draw_result(frame, result_of(box, name), heat=True),
            draw_result(frame, result_of(None, name)),
            draw_missing(frame),
        ):
            assert picture.shape == frame.shape
            assert picture.dtype == np.uint8


def test_picture_of_a_missing_frame_is_dark_and_gray():
    frame = np.full((200, 300, 3), (90, 180, 30), np.uint8)
    picture = draw_missing(frame)
    assert (frame == (90, 180, 30)).all()
    assert (picture[100:] == picture[100:, :, :1]).all()
    assert picture[100:].max() < 90


def test_every_box_has_the_color_of_its_track():
    boxes = ((120, 60, 200, 140), (220, 20, 280, 90))
    result = replace(result_of(boxes[0]), all_boxes=boxes, all_scores=(0.5, 0.4))
    frame = np.full((200, 300, 3), 90, np.uint8)
    for tracks in ((1, 2), (7, 1), (12, 25)):
        picture = draw_result(frame, result, tracks=tracks)
        for (x0, y0, x1, y1), number in zip(boxes, tracks, strict=True):
            line = np.concatenate([picture[y0 : y1 + 1, x] for x in (x0, x1)])
            assert (line == track_color(number)).all()
    assert not is_red(draw_result(frame, result))[20:91, 220:281].any()  # no tracks: one box
    nothing = replace(result, box=None, all_boxes=(), all_scores=())
    np.testing.assert_array_equal(
        draw_result(frame, nothing, tracks=()), draw_result(frame, nothing)
    )
