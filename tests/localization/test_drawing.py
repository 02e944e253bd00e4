"""Drawing: boxes and heat maps on images."""

import numpy as np
import pytest

from colocam.localization.drawing import GREEN, RED, blend, draw_box, heat_map


def test_line_of_a_box_is_on_its_outermost_pixels():
    image = np.full((40, 50, 3), 7, np.uint8)
    drawn = draw_box(image, (10, 5, 30, 25), GREEN, thickness=2)
    expected = image.copy()
    expected[5:26, 10:31] = GREEN
    expected[7:24, 12:29] = 7
    np.testing.assert_array_equal(drawn, expected)
    assert (image == 7).all()


@pytest.mark.parametrize("box", [(0, 0, 49, 39), (3, 3, 3, 3), (3, 3, 4, 9)])
def test_boxes_at_the_border_and_tiny_boxes_are_drawn_inside(box):
    x0, y0, x1, y1 = box
    drawn = draw_box(np.zeros((40, 50, 3), np.uint8), box, RED, thickness=3)
    colored = (drawn == RED).all(axis=-1)
    assert colored[y0, x0 : x1 + 1].all()
    assert colored[y1, x0 : x1 + 1].all()
    assert colored[y0 : y1 + 1, x0].all()
    assert colored[y0 : y1 + 1, x1].all()
    outside = np.ones((40, 50), bool)
    outside[y0 : y1 + 1, x0 : x1 + 1] = False
    assert not drawn[outside].any()


def test_heat_map_is_rgb_and_its_brightness_increases_with_the_score():
    heat = heat_map(np.linspace(0, 1, 256)[None])
    assert heat.shape == (1, 256, 3)
    assert heat.dtype == np.uint8
    luminance = heat[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance) > -1).all()
    assert luminance[-1] > luminance[0] + 100
    red, _, blue = heat[0, -1].astype(int)
    assert red > blue + 100  # yellow, not its mirror image in BGR


def test_blend_keeps_the_color_of_the_heat_map_and_the_brightness_of_the_image():
    image = np.array([[[200, 0, 0], [0, 0, 0]]], np.uint8)  # gray 60 and 0
    heat = np.array([[[100, 50, 0], [100, 50, 0]]], np.uint8)
    assert blend(image, heat, 0.5).tolist() == [[[80, 55, 30], [50, 25, 0]]]
    np.testing.assert_array_equal(blend(image, heat, 1.0), heat)
