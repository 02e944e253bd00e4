"""CorLoc: hand-computed cases, and equality with brute force over the 1000 thresholds."""

import json
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.evaluation import iou_curves as iou_curves_module
from colocam.evaluation.boxes import box_at, centre_map
from colocam.evaluation.contour_workers import contour_workers, useful_processes
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.iou_curves import THRESHOLDS, centre_curves, iou_curves

SIDE = 40
FAR = (34, 34, 39, 39)  # a ground truth that no map overlaps


def nested(*layers):
    """A map of nested blocks: (x0, y0, x1, y1) corners included, and the 8-bit level inside."""
    scores = np.zeros((SIDE, SIDE))
    for (x0, y0, x1, y1), level in layers:
        scores[y0 : y1 + 1, x0 : x1 + 1] = (level + 0.5) / 255
    return scores


def block(box):
    return nested((box, 254))


def found(box):
    """The box of a block away from the border by the protocol: one pixel larger."""
    return (box[0], box[1], box[2] + 1, box[3] + 1)


A, B, C = (2, 2, 8, 8), (5, 15, 20, 25), (22, 4, 30, 12)


def corloc_of(*frames, classes=("cat", "dog"), **keywords):
    evaluation = CorLoc(classes, **keywords)
    for frame in frames:
        evaluation.add(*frame)
    return evaluation


# Brute force: the protocol as published, one threshold at a time.


def brute_force_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return shared / (sum(areas) - shared)


def brute_force_curves(score_map, truth):
    image = (score_map * 255).astype(np.uint8)
    height, width = image.shape
    curves = np.zeros((2, 1000))
    for index, threshold in enumerate(np.arange(0, 1, 0.001)):
        _, mask = cv2.threshold(image, int(threshold * image.max()), 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        largest, candidates = [(0, 0, 0, 0)], [(0, 0, 0, 0)]
        if contours:
            rectangles = [cv2.boundingRect(contour) for contour in contours]
            candidates = [
                (x, y, min(x + w, width - 1), min(y + h, height - 1)) for x, y, w, h in rectangles
            ]
            largest = [candidates[int(np.argmax([cv2.contourArea(c) for c in contours]))]]
        for version, boxes in enumerate((largest, candidates)):
            curves[version, index] = max(brute_force_iou(a, b) for a in boxes for b in truth)
    return curves


def smooth_map(seed, side, sigma, steepness=None):
    rng = np.random.default_rng(seed)
    scores = cv2.GaussianBlur(rng.random((side, side)), (0, 0), sigma)
    scores = (scores - scores.min()) / (scores.max() - scores.min())
    if steepness is not None:  # as after a softmax: most values near 0 and 1
        scores = 1 / (1 + np.exp(-steepness * (scores - 0.5)))
    return scores.astype(np.float32)


@pytest.mark.parametrize("sigma", [3, 8, 20])
@pytest.mark.parametrize("steepness", [None, 5, 40])
def test_curves_equal_the_brute_force_on_smooth_maps(sigma, steepness):
    scores = smooth_map(sigma, 112, sigma, steepness)
    truth = [(10, 20, 70, 90), (60, 60, 111, 111)]
    np.testing.assert_array_equal(iou_curves(scores, truth), brute_force_curves(scores, truth))


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    peak=st.floats(0, 1),
    levels=st.sampled_from([2, 5, 1000]),
)
def test_curves_equal_the_brute_force_on_random_maps(seed, height, width, peak, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (height, width)) / (levels - 1) * peak
    corners = np.sort(rng.integers(0, 14, (3, 2, 2)), axis=1).reshape(3, 4)
    truth = corners[: rng.integers(1, 4)].tolist()
    np.testing.assert_array_equal(iou_curves(scores, truth), brute_force_curves(scores, truth))


def test_thresholds_equal_the_published_range():
    assert len(THRESHOLDS) == 1000
    # 0.285 * 200 is 56.99… but 285 * 0.001 * 200 is 57; 0.29 * 200 is 57.99… either way.
    assert int(0.285 * 200) == 56
    assert [int(THRESHOLDS[i] * 200) for i in (284, 285, 290, 291)] == [56, 57, 57, 58]
    # At 250 every product is truncated as exact arithmetic would.
    assert [int(tau * 250) for tau in THRESHOLDS] == [i // 4 for i in range(1000)]


def test_curve_steps_where_the_truncated_product_of_threshold_and_maximum_steps():
    scores = nested((A, 57), ((4, 4, 6, 6), 200))
    curve = iou_curves(scores, [found(A)])[0]
    assert (curve == 1).nonzero()[0].tolist() == list(range(285))  # from 285 on, 57 is out
    scores = nested((A, 58), ((4, 4, 6, 6), 200))
    curve = iou_curves(scores, [found(A)])[0]
    assert (curve == 1).nonzero()[0].tolist() == list(range(291))  # 290 gives 57, not 58


def test_levels_with_equal_masks_are_evaluated_once(monkeypatch):
    calls = []
    original = iou_curves_module.find_contours
    monkeypatch.setattr(
        iou_curves_module, "find_contours", lambda *given: calls.append(given) or original(*given)
    )
    iou_curves(nested((A, 40), ((4, 4, 6, 6), 200)), [A])
    assert len(calls) == 2


def test_iou_of_exactly_one_half_is_correct():
    # The block's box is 8 x 8 pixels, (2, 2) to (9, 9); a truth of 8 x 4 of them has IoU 1/2.
    half, less = (2, 2, 9, 5), (2, 2, 8, 5)
    assert corloc_of((block(A), [half], 0)).summary()["corloc"]["0.5"] == 100.0
    assert corloc_of((block(A), [less], 0)).summary()["corloc"]["0.5"] == 0.0


def test_corloc_is_computed_for_each_iou():
    # IoU 0.5 with the truth: correct at 0.3 and 0.5, wrong at 0.7.
    summary = corloc_of((block(A), [(2, 2, 9, 5)], 0)).summary()
    assert summary["corloc"] == {"0.3": 100.0, "0.5": 100.0, "0.7": 0.0}


def test_best_of_several_ground_truth_boxes_counts():
    summary = corloc_of((block(A), [FAR, found(A), B], 0)).summary()
    assert summary["corloc"]["0.7"] == 100.0
    assert summary["boxes"] == 3
    assert summary["frames"] == 1


def test_map_without_a_contour_has_the_corner_pixel_as_box():
    blank = np.zeros((SIDE, SIDE))
    assert (iou_curves(blank, [(0, 0, 1, 1)]) == 0.25).all()
    assert corloc_of((blank, [FAR], 0)).summary()["corloc"]["0.3"] == 0.0


WIDE = nested((B, 100), ((6, 16, 10, 20), 250))  # above level 100 only the core of B
CORE = (6, 16, 11, 21)


def test_threshold_is_chosen_per_class():
    # Best for cats: low thresholds (int(tau * 250) < 100: tau <= 0.399); for dogs: from 0.4 on.
    frames = [(WIDE, [found(B)], 0), (WIDE, [CORE], 1)]
    summary = corloc_of(*frames).summary(honest_threshold=0.2)
    assert summary["corloc"]["0.5"] == 100.0
    assert summary["per_class"] == {
        "cat": {"corloc": 100.0, "threshold": 0.0, "frames": 1},
        "dog": {"corloc": 100.0, "threshold": 0.4, "frames": 1},
    }
    # No single threshold is best for both.
    assert summary["corloc_honest"] == {"0.5": 50.0, "threshold": 0.2}


def test_threshold_is_chosen_per_iou():
    middle = nested(((2, 2, 30, 12), 100), ((2, 2, 16, 12), 200), ((2, 2, 11, 12), 250))
    # Boxes (2, 2)-(31, 13), (17, 13), (12, 13): 30, 16, 11 columns. Truths of 9 and 30 columns:
    # IoUs 9/30, 9/16, 9/11 and 1, 16/30, 11/30.
    frames = [(middle, [(2, 2, 10, 13)], 0), (middle, [(2, 2, 31, 13)], 0)]
    assert corloc_of(*frames).summary()["corloc"] == {"0.3": 100.0, "0.5": 100.0, "0.7": 50.0}


def test_mean_is_over_classes_not_over_frames():
    frames = [(block(A), [found(A)], 0)] * 3 + [(block(A), [FAR], 0), (block(A), [FAR], 1)]
    summary = corloc_of(*frames).summary()
    assert summary["corloc"]["0.5"] == 37.5  # (75 + 0) / 2, not 3 of 5
    assert summary["per_class"]["cat"] == {"corloc": 75.0, "threshold": 0.0, "frames": 4}


def test_classes_without_boxes_are_skipped_in_means():
    frames = [(block(A), [found(A)], 0, [0]), (block(A), [], 1, [0])]
    summary = corloc_of(*frames, classes=("cat", "dog", "cow")).summary(0.5)
    assert summary["corloc"]["0.5"] == summary["corloc_v2"] == summary["top1_loc"] == 100.0
    assert summary["corloc_honest"]["0.5"] == 100.0
    assert list(summary["per_class"]) == ["cat"]
    assert summary["classification_accuracy"] == 50.0
    assert summary["frames"] == 2
    assert summary["boxes"] == 1


def test_without_any_box_corloc_is_none_and_accuracy_is_not():
    evaluation = corloc_of((block(A), [], 0, [0, 1]), (block(A), np.zeros((0, 4)), 1, [0, 1]))
    assert evaluation.summary(0.5) == {
        "corloc": None,
        "per_class": {},
        "corloc_honest": None,
        "corloc_v2": None,
        "top1_loc": None,
        "top5_loc": None,
        "classification_accuracy": 50.0,
        "frames": 2,
        "boxes": 0,
        "per_video": {},
        "by_size": {},
        "threshold_curve": None,
    }
    with pytest.raises(ValueError, match="boxes"):
        evaluation.best_threshold()


def test_version_2_uses_all_contours_and_averages_over_ious():
    # B is the larger contour, C the ground truth: wrong in version 1, correct in version 2.
    two = nested((B, 200), (C, 200))
    summary = corloc_of((two, [found(C)], 0)).summary()
    assert summary["corloc"] == {"0.3": 0.0, "0.5": 0.0, "0.7": 0.0}
    assert summary["corloc_v2"] == 100.0
    # IoU 0.5 with C's box, (22, 4)-(31, 13): correct at 2 of 3 IoUs; the second class is wrong.
    half = corloc_of((two, [(22, 4, 31, 8)], 0), (two, [FAR], 1)).summary()
    assert half["corloc_v2"] == pytest.approx((50 + 50 + 0) / 3)


def test_top_k_localization_requires_the_correct_class():
    # Seven classes; the box is always correct; the true class is first, third, sixth, seventh.
    names = tuple("abcdefg")
    rankings = [[0, 1, 2, 3, 4, 5, 6], [1, 2, 0, 3, 4, 5, 6], [1, 2, 3, 4, 5, 0, 6], [1, 2, 3]]
    frames = [(block(A), [found(A)], 0, ranking) for ranking in rankings]
    summary = corloc_of(*frames, classes=names).summary()
    assert (summary["top1_loc"], summary["top5_loc"]) == (25.0, 50.0)
    assert summary["classification_accuracy"] == 25.0
    # A correct class with a wrong box is wrong; classes have equal weight.
    frames = [*frames, (block(A), [FAR], 0, [0]), (block(A), [found(A)], 1, [1, 0])]
    summary = corloc_of(*frames, classes=names).summary()
    assert summary["top1_loc"] == pytest.approx((100 / 5 + 100) / 2)
    assert summary["top5_loc"] == pytest.approx((200 / 5 + 100) / 2)
    assert summary["classification_accuracy"] == 50.0


def test_top_1_localization_uses_the_threshold_of_corloc():
    # The low threshold is best for two cats, the high one for the only one classified correctly.
    frames = [(WIDE, [found(B)], 0, [1, 0])] * 2 + [(WIDE, [CORE], 0, [0, 1])]
    summary = corloc_of(*frames).summary()
    assert summary["top1_loc"] == 0.0
    assert summary["top5_loc"] == pytest.approx(200 / 3)


def test_without_rankings_classification_metrics_are_none():
    summary = corloc_of((block(A), [found(A)], 0)).summary()
    assert summary["top1_loc"] is summary["top5_loc"] is summary["classification_accuracy"] is None


def test_best_threshold_maximizes_the_mean_over_classes():
    # A high threshold is best for 6 of ten cats, a low one for 4 and for the only dog. Counted by
    # frames the high one is better, 6 : 5; by classes the low one, 0.4 + 1 : 0.6 + 0.
    cats = [(WIDE, [CORE], 0)] * 6 + [(WIDE, [found(B)], 0)] * 4
    assert corloc_of(*cats).best_threshold() >= 0.4
    assert corloc_of(*cats, (WIDE, [found(B)], 1)).best_threshold() < 0.4


@pytest.mark.parametrize(
    ("outer", "middle", "index"),
    [
        (100, 175, 199),  # correct at 0…399 and at 700…999
        (50, 100, 699),  # correct at 0…199 and at 400…999
        (100, 150, 199),  # correct at 0…399 and at 600…999: the first of equal runs
    ],
)
def test_best_threshold_is_the_middle_of_the_longest_run_of_equals(outer, middle, index):
    layers = nested((B, outer), ((5, 15, 14, 20), middle), ((6, 16, 10, 20), 250))
    assert corloc_of((layers, [found(B), CORE], 0)).best_threshold() == THRESHOLDS[index]


def test_equal_means_that_differ_by_rounding_count_as_equal():
    # Three classes of ten frames, at low thresholds 1, 2, 3 of them correct, at high ones 3, 2, 1.
    # The means are equal, but 0.1 + 0.2 + 0.3 exceeds 0.3 + 0.2 + 0.1 by a rounding error.
    frames = []
    for label, (low, high) in enumerate(((1, 3), (2, 2), (3, 1))):
        truths = [found(B)] * low + [CORE] * high + [FAR] * (10 - low - high)
        frames += [(WIDE, [truth], label) for truth in truths]
    assert corloc_of(*frames, classes=("a", "b", "c")).best_threshold() == THRESHOLDS[499]


def test_honest_threshold_survives_json_and_is_rounded_to_the_nearest():
    evaluation = corloc_of((WIDE, [CORE], 0), (WIDE, [found(B)], 1))
    chosen = evaluation.best_threshold()
    again = json.loads(json.dumps(chosen))
    assert evaluation.summary(again)["corloc_honest"] == {"0.5": 50.0, "threshold": chosen}
    assert evaluation.summary(0.35)["corloc_honest"]["threshold"] == THRESHOLDS[350]
    assert evaluation.summary()["corloc_honest"] is None
    with pytest.raises(ValueError, match="honest_threshold"):
        evaluation.summary(1.0)


def test_shares_equal_the_brute_force_over_many_frames():
    rng = np.random.default_rng(3)
    evaluation, curves, labels = CorLoc(("a", "b", "c")), [], []
    for seed in range(12):
        scores = smooth_map(seed, 48, 5)
        corners = np.sort(rng.integers(0, 48, (2, 2)), axis=0).reshape(1, 4)
        curves.append(brute_force_curves(scores, corners.tolist()))
        labels.append(seed % 3)
        evaluation.add(scores, corners, seed % 3)
    curves, labels = np.array(curves), np.array(labels)

    def expected(version, at):
        shares = [(curves[labels == c, version] >= at).mean(axis=0).max() for c in range(3)]
        return 100 * sum(shares) / 3

    summary = evaluation.summary()
    assert summary["corloc"] == pytest.approx({f"{t}": expected(0, t) for t in (0.3, 0.5, 0.7)})
    assert summary["corloc_v2"] == pytest.approx(sum(expected(1, t) for t in (0.3, 0.5, 0.7)) / 3)


def test_summary_is_json_serializable():
    frames = [
        (block(A).astype(np.float32), np.array([found(A)]), np.int64(0), np.array([0, 1])),
        (block(A), [], 1, (0, 1)),
    ]
    summary = corloc_of(*frames).summary(np.float64(0.5))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert list(summary) == [
        "corloc",
        "per_class",
        "corloc_honest",
        "corloc_v2",
        "top1_loc",
        "top5_loc",
        "classification_accuracy",
        "frames",
        "boxes",
        "per_video",
        "by_size",
        "threshold_curve",
    ]
    assert json.dumps(CorLoc(("a",)).summary(), allow_nan=False)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        ((block(A), [(1, 2, 3)], 0), "boxes"),
        ((block(A), [(1.5, 2, 3, 4)], 0), "boxes"),
        ((block(A), [(np.nan, 2, 3, 4)], 0), "boxes"),
        ((block(A), [(5, 2, 3, 4)], 0), "boxes"),
        ((block(A), [A], 2), "label"),
        ((block(A), [A], -1), "label"),
        ((block(A) * np.nan, [A], 0), "score_map"),
    ],
)
def test_invalid_arguments_are_named_in_the_error(frame, complaint):
    with pytest.raises(ValueError, match=complaint):
        corloc_of(frame)


def test_rankings_for_some_frames_only_raise():
    with pytest.raises(ValueError, match="ranking"):
        corloc_of((block(A), [A], 0, [0, 1]), (block(A), [A], 0))
    with pytest.raises(ValueError, match=r"0\.5"):
        CorLoc(("a",), ious=(0.3,))


@given(st.lists(st.integers(0, 4), min_size=9, max_size=9))
@settings(deadline=None, max_examples=25)
def test_merged_parts_equal_a_single_accumulator(parts):
    """Up to five parts, some of them empty, as with several processes."""
    rng = np.random.default_rng(7)
    frames = []
    for seed in range(9):
        corners = np.sort(rng.integers(0, 24, (2, 2)), axis=0).reshape(1, 4)
        boxes = corners if seed % 4 else np.empty((0, 4))
        frames.append((smooth_map(seed, 24, 3), boxes, seed % 2, rng.permutation(2)))
    collected = [
        corloc_of(*(f for f, p in zip(frames, parts, strict=True) if p == k)) for k in range(5)
    ]
    together = CorLoc(("cat", "dog"))
    for part in collected:
        together.extend(part)
    whole = corloc_of(*frames)
    assert together.summary(0.3) == whole.summary(0.3)
    assert together.best_threshold() == whole.best_threshold()
    before = collected[0].summary()
    together.add(block(A), [found(A)], 0, [0, 1])
    assert collected[0].summary() == before  # the parts are not modified


def test_merging_other_classes_or_ious_raises():
    cats = corloc_of((block(A), [A], 0))
    for other in (CorLoc(("dog", "cat")), CorLoc(("cat", "dog"), ious=(0.5,))):
        with pytest.raises(ValueError, match="other classes or IoUs"):
            cats.extend(other)
    ranked = corloc_of((block(A), [A], 0, [0, 1]))
    for one, other in ((cats, ranked), (ranked, cats)):
        with pytest.raises(ValueError, match="ranking"):
            one.extend(other)
    assert cats.summary()["frames"] == ranked.summary()["frames"] == 1
    cats.extend(CorLoc(("cat", "dog")))
    assert cats.summary()["frames"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_several_processes_compute_the_same_numbers_as_one():
    frames = []
    for seed in range(9):
        boxes = [(4, 5, 20, 18)] if seed % 4 else []
        frames.append((smooth_map(seed, 32, 3), boxes, seed % 2, [seed % 2], f"v{seed % 3}"))
    together = CorLoc(("cat", "dog"))
    with contour_workers(2) as pool:
        together.add_all(frames, pool)
        with pytest.raises(ValueError, match="score_map"):
            together.add_all([(np.full((8, 8), np.nan), [(0, 0, 1, 1)], 0, [0], None)], pool)
    assert together.summary(0.3) == corloc_of(*frames).summary(0.3)


def test_useful_processes_depends_on_frames_and_ranks():
    assert useful_processes(20) == 1
    assert useful_processes(10_000, ranks=10_000) == 1
    assert 1 <= useful_processes(10_000) <= 8


# The box around the centre


@pytest.mark.parametrize("side", [64, 65, 224])
def test_boxes_of_the_centre_are_centred_and_of_every_size(side):
    scores = centre_map(side)
    assert 0 <= scores.min() < 0.02
    assert 0.98 < scores.max() <= 1
    for threshold in (0.0, 0.3, 0.7, 0.9):
        x0, y0, x1, y1 = box_at(scores, threshold)
        assert (x0, x1) == (y0, y1)
        assert abs(x0 - (side - 1 - x1)) <= 2
        assert abs((x1 - x0 + 1) / side - (1 - threshold)) <= 3 / side


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 63)] * 4), min_size=1, max_size=3))
def test_curves_of_the_centre_are_those_of_its_map(corners):
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners])
    expected = iou_curves(centre_map(64), boxes)
    np.testing.assert_array_equal(centre_curves(np.zeros((64, 64)), boxes), expected)


def test_a_centred_object_is_found_by_the_box_around_the_centre():
    evaluation = CorLoc(("cat",), curves=centre_curves)
    evaluation.add(np.zeros((64, 64)), [(16, 16, 47, 47)], 0)
    evaluation.add(np.zeros((64, 64)), [(0, 0, 9, 9)], 0)
    assert evaluation.summary()["corloc"]["0.5"] == 50.0
