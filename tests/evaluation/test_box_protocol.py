"""Box protocol: one hand-computed case per convention."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.evaluation.boxes import (
    NO_BOX,
    box_at,
    boxes_at,
    contour_boxes,
    iou,
    largest_contour_box,
    quantize,
    region_boxes,
    scale_box,
    unscale_box,
)


def mask_of(height, width, *boxes):
    """Mask with every box (x0, y0, x1, y1), corners included, filled."""
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def test_scores_are_truncated_to_8_bits_not_rounded():
    scores = np.array([[0.0, 0.003, 0.00393], [0.5, 0.999, 1.0]])
    # times 255: 0, 0.765, 1.002, 127.5, 254.745, 255
    assert quantize(scores).tolist() == [[0, 0, 1], [127, 254, 255]]
    assert quantize(scores).dtype == np.uint8


def test_scores_outside_0_to_1_are_clipped():
    assert quantize(np.array([[-0.5, 1.01, np.inf]])).tolist() == [[0, 255, 255]]


def test_truncation_uses_the_precision_of_the_map():
    below = 1 / 255 * (1 - 1e-12)  # times 255 just under 1 in float64, 1 in float32
    assert quantize(np.array([[below]])).item() == 0
    assert quantize(np.array([[below]], np.float32)).item() == 1
    assert quantize(np.array([[0.5]], np.float16)).item() == 127


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        (np.array([[0.1, np.nan]]), "NaN"),
        (np.zeros((2, 2), np.uint8), "floating point"),
        (np.zeros((1, 2, 2)), "floating point"),
        (np.zeros((0, 4)), "floating point"),
    ],
)
def test_invalid_score_map_raises(scores, complaint):
    with pytest.raises(ValueError, match=complaint):
        quantize(scores)


def test_box_of_a_contour_ends_one_pixel_past_its_last_pixel():
    assert largest_contour_box(mask_of(20, 20, (3, 4, 7, 9))) == (3, 4, 8, 10)


def test_box_of_a_contour_is_clamped_to_the_last_pixel_of_the_map():
    assert largest_contour_box(mask_of(10, 12, (5, 2, 11, 9))) == (5, 2, 11, 9)
    assert largest_contour_box(np.ones((10, 12), bool)) == (0, 0, 11, 9)
    # One pixel before the edge the extra pixel still fits, at the edge it does not.
    assert largest_contour_box(mask_of(10, 12, (5, 2, 10, 8))) == (5, 2, 11, 9)


def test_box_without_a_contour_is_the_corner_pixel():
    empty = np.zeros((10, 12), bool)
    assert largest_contour_box(empty) == (0, 0, 0, 0)
    assert contour_boxes(empty) == [(0, 0, 0, 0)]


def test_largest_contour_is_by_area_inside_the_outline_not_by_pixels():
    # A 1 x 18 line: 18 pixels, area 0. A 4 x 4 block: 16 pixels, area 9.
    assert largest_contour_box(mask_of(20, 20, (1, 1, 18, 1), (2, 8, 5, 11))) == (2, 8, 6, 12)
    # A thin ring of side 8: 28 pixels, area about 49. A 6 x 6 block: 36 pixels, area 25.
    ring = mask_of(20, 20, (1, 1, 8, 8), (12, 12, 17, 17))
    ring[2:8, 2:8] = False
    assert largest_contour_box(ring) == (1, 1, 9, 9)


def test_contour_boxes_are_sorted_by_area_and_include_holes():
    mask = mask_of(30, 30, (20, 20, 22, 22), (1, 1, 15, 15))
    mask[5:11, 4:11] = False  # a hole x 4...10, y 5...10; its contour runs on the pixels around it
    assert contour_boxes(mask) == [(1, 1, 16, 16), (3, 4, 12, 12), (20, 20, 23, 23)]


def test_masks_of_any_type_and_layout_are_binarized():
    mask = mask_of(20, 20, (3, 4, 7, 9))
    layouts = (np.asfortranarray(mask), np.repeat(mask, 2, axis=1)[:, ::2])
    types = (mask.astype(np.uint8) * 255, mask.astype(np.int64) * 256, mask * 0.25)
    for other in (*layouts, *types):
        assert largest_contour_box(other) == (3, 4, 8, 10)


def test_threshold_is_strict_and_truncated():
    scores = np.zeros((20, 20))
    scores[2:18, 2:18] = 100.5 / 255  # level 100
    scores[5:15, 5:15] = 101.5 / 255  # level 101
    scores[8:12, 8:12] = 200.5 / 255  # level 200, the maximum
    assert box_at(scores, 0.499) == (2, 2, 18, 18)  # int(99.8) = 99: 100 and up
    assert box_at(scores, 0.5) == (5, 5, 15, 15)  # int(100.0) = 100: strictly above, so from 101
    assert box_at(scores, 0.504) == (5, 5, 15, 15)  # int(100.8) = 100
    assert box_at(scores, 0.505) == (8, 8, 12, 12)  # int(101.0) = 101
    assert box_at(scores, 0.0) == (2, 2, 18, 18)
    assert box_at(scores, 1.0) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="threshold"):
        box_at(scores, 1.5)


def test_zero_map_has_no_box():
    assert box_at(np.zeros((8, 8)), 0.0) == (0, 0, 0, 0)


def test_iou_counts_pixels_with_both_corners_included():
    # 2 x 2 and 2 x 2 pixels sharing one: 1 / 7. Without the + 1 they would not overlap.
    assert iou([(0, 0, 1, 1)], [(1, 1, 2, 2)]).tolist() == [[1 / 7]]
    assert iou([(3, 3, 3, 3)], [(3, 3, 3, 3)]).tolist() == [[1.0]]
    assert iou([(0, 0, 9, 9)], [(0, 0, 9, 4)]).tolist() == [[0.5]]
    assert iou([(0, 0, 4, 4)], [(5, 0, 9, 4)]).tolist() == [[0.0]]
    # Apart on both axes: two negative extents must not make an overlap.
    assert iou([(0, 0, 4, 4)], [(20, 20, 24, 24)]).tolist() == [[0.0]]


def test_iou_is_computed_for_every_pair():
    a = [(0, 0, 9, 9), (5, 5, 6, 6)]
    b = [(0, 0, 9, 9), (5, 5, 5, 5), (50, 50, 60, 60)]
    assert iou(a, b).tolist() == [[1.0, 0.01, 0.0], [0.04, 0.25, 0.0]]
    assert iou(np.zeros((0, 4)), b).shape == (0, 3)


boxes_in_20 = st.tuples(*[st.integers(0, 19)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@settings(deadline=None, max_examples=50)
@given(boxes_in_20, boxes_in_20)
def test_iou_equals_pixel_counts(a, b):
    first, second = mask_of(20, 20, a), mask_of(20, 20, b)
    assert iou([a], [b]).item() == (first & second).sum() / (first | second).sum()


def test_ground_truth_is_scaled_and_truncated():
    # x: 101 * 224 / 640 = 35.35, 333 * 0.35 = 116.55; y: 77 * 224 / 360 = 47.9, 359 -> 223.4
    assert scale_box((101, 77, 333, 359), (640, 360), (224, 224)) == (35, 47, 116, 223)
    assert scale_box((10.9, 0, 20.9, 5), (100, 100), (100, 100)) == (10, 0, 20, 5)


def test_scaling_is_exact_where_the_quotient_is_an_integer():
    # 180 * 224 / 640 is 63, but 180 * (224 / 640) is 62.99…
    assert int(180 * (224 / 640)) == 62
    assert scale_box((180, 0, 340, 0), (640, 360), (224, 224))[::2] == (63, 119)


def test_box_of_the_full_map_becomes_the_full_image():
    assert unscale_box((0, 0, 223, 223), (224, 224), (1280, 720)) == (0, 0, 1279, 719)
    assert unscale_box((0, 0, 223, 223), (224, 224), (100, 51)) == (0, 0, 99, 50)


def test_predicted_box_covers_the_image_pixels_of_its_map_pixels():
    # Map pixel 1 of 4 covers image pixels 3...5 of 12, on y 2...3 of 8.
    assert unscale_box((1, 1, 1, 1), (4, 4), (12, 8)) == (3, 2, 5, 3)


@settings(deadline=None, max_examples=100)
@given(boxes_in_20, st.integers(20, 500), st.integers(20, 500))
def test_scaling_inverts_unscaling_if_the_image_is_larger(box, width, height):
    image_box = unscale_box(box, (20, 20), (width, height))
    assert scale_box(image_box, (width, height), (20, 20)) == box


@settings(deadline=None, max_examples=100)
@given(boxes_in_20, st.integers(1, 500), st.integers(1, 500))
def test_predicted_box_is_inside_the_image(box, width, height):
    x0, y0, x1, y1 = unscale_box(box, (20, 20), (width, height))
    assert 0 <= x0 <= x1 < width
    assert 0 <= y0 <= y1 < height


# ---- regions


def test_every_connected_region_has_a_box_and_the_first_is_that_of_the_largest_contour():
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = rng.random(rng.integers(1, 20, 2)) < rng.random()
        boxes = region_boxes(mask)
        regions, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        assert len(boxes) == max(1, regions - 1)
        assert boxes[0] == largest_contour_box(mask)


def test_a_region_inside_the_hole_of_another_has_its_own_box():
    mask = np.zeros((20, 20), bool)
    mask[2:15, 2:15], mask[4:13, 4:13], mask[7:10, 7:10] = True, False, True
    assert region_boxes(mask) == [(2, 2, 15, 15), (7, 7, 10, 10)]


def test_small_regions_have_no_box_except_for_the_largest():
    mask = np.zeros((20, 20), bool)
    mask[:11, :11], mask[13:18, 13:18] = True, True  # contour areas of 100 and 16 of 400 pixels
    assert region_boxes(mask, 0.04) == [(0, 0, 11, 11), (13, 13, 18, 18)]
    assert region_boxes(mask, 0.041) == region_boxes(mask, 0.9) == [(0, 0, 11, 11)]
    assert region_boxes(np.zeros((4, 4)), 0.5) == [NO_BOX]


@pytest.mark.parametrize("min_area", [-0.1, 1.0, float("nan")])
def test_a_smallest_area_out_of_range_is_an_error(min_area):
    with pytest.raises(ValueError, match=r"min_area: must be in \[0, 1\)"):
        boxes_at(np.ones((4, 4), np.float32), 0.5, min_area)
