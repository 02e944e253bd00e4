"""Breakdown of CorLoc by video, by object size and by threshold."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.evaluation.breakdown import SIZES, Verdicts, by_size, per_video
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.iou_curves import THRESHOLDS

SIDE = 40
BOX, CORE = (5, 15, 20, 25), (6, 16, 10, 20)
FOUND, FOUND_CORE, FAR = (5, 15, 21, 26), (6, 16, 11, 21), (34, 34, 39, 39)


def two_steps():
    """A map whose mask above a threshold of 0.4 is the core of the box only."""
    scores = np.zeros((SIDE, SIDE))
    for (x0, y0, x1, y1), level in ((BOX, 100), (CORE, 250)):
        scores[y0 : y1 + 1, x0 : x1 + 1] = (level + 0.5) / 255
    return scores


def summary_of(*frames, honest=None, classes=("cat", "dog")):
    """Summary of frames (ground truth or None, label, video), each with the same map."""
    evaluation = CorLoc(classes)
    for truth, label, video in frames:
        boxes = [] if truth is None else [truth]
        evaluation.add(two_steps(), boxes, label, video=video)
    return evaluation.summary(honest)


def test_per_video_shares_use_the_thresholds_of_class_and_validation():
    # A low threshold is best for the cats (2 of 3), a high one for the dog.
    summary = summary_of(
        (FOUND, 0, "cat/a"), (FOUND_CORE, 0, "cat/a"), (FOUND, 0, "cat/b"),
        (FOUND_CORE, 1, "dog/a"), (None, 1, "dog/b"), honest=0.7,
    )  # fmt: skip
    assert summary["per_video"] == {
        "cat/a": {"frames": 2, "corloc": 50.0, "corloc_honest": 50.0},
        "cat/b": {"frames": 1, "corloc": 100.0, "corloc_honest": 0.0},
        "dog/a": {"frames": 1, "corloc": 100.0, "corloc_honest": 100.0},
    }


def test_unnamed_videos_are_not_part_of_per_video():
    summary = summary_of((FOUND, 0, None), (FOUND, 0, "cat/a"))
    assert list(summary["per_video"]) == ["cat/a"]
    assert summary["per_video"]["cat/a"]["corloc_honest"] is None
    assert summary["by_size"]["small"]["frames"] == 2  # the frame is part of `by_size`


def test_corloc_of_a_class_is_the_frame_weighted_mean_of_its_videos():
    rng = np.random.default_rng(1)
    truths = [FOUND, FOUND_CORE, FAR]
    frames = [(truths[rng.integers(3)], 0, f"v{rng.integers(4)}") for _ in range(40)]
    summary = summary_of(*frames)
    entries = summary["per_video"].values()
    total = sum(entry["frames"] * entry["corloc"] for entry in entries)
    assert total / 40 == pytest.approx(summary["per_class"]["cat"]["corloc"])


def test_sizes_are_thirds_by_the_largest_box():
    evaluation = CorLoc(("cat",))
    sizes = {4: "small", 10: "small", 17: "medium", 20: "medium", 30: "large", 40: "large"}
    for side in (20, 4, 40, 10, 30, 17):  # in no order
        corner = (0, 0, 1, 1)  # a second, smaller box
        evaluation.add(np.zeros((40, 40)), [corner, (0, 0, side - 1, side - 1)], 0)
    groups = evaluation.summary()["by_size"]
    assert list(groups) == ["small", "medium", "large"]
    for name, group in groups.items():
        ends = sorted(side for side, own in sizes.items() if own == name)
        assert group["area"] == [round(side**2 / 1600, 4) for side in ends]
        assert group["frames"] == 2


def test_by_size_gives_the_share_of_correct_frames():
    wide = (0, 0, 39, 39)
    # Small: the core; medium: the box; large: the full map, which no box matches.
    summary = summary_of((FOUND_CORE, 1, "a"), (FOUND, 0, "a"), (wide, 0, "a"), honest=0.0)
    shares = {
        name: (group["corloc"], group["corloc_honest"])
        for name, group in summary["by_size"].items()
    }
    assert shares == {"small": (100.0, 0.0), "medium": (100.0, 100.0), "large": (0.0, 0.0)}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms())
@settings(deadline=None, max_examples=50)
def test_equal_areas_have_one_size_and_every_frame_has_a_size(areas, random):
    def groups(values):
        correct = np.array([value % 2 == 0 for value in values])
        return by_size(Verdicts([None] * len(values), np.array(values) / 8, correct, None))

    found = groups(areas)
    assert tuple(found) == SIZES
    assert sum(group["frames"] for group in found.values()) == len(areas)
    extents = [group["area"] for group in found.values() if group["area"]]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(extents))
    assert all((group["corloc"] is None) == (group["frames"] == 0) for group in found.values())
    if len(set(areas)) == len(areas):
        assert max(g["frames"] for g in found.values()) <= -(-len(areas) // 3)
    assert found == groups(random.sample(areas, len(areas)))  # the order does not matter


def test_threshold_curve_is_the_mean_over_classes_at_every_tenth_threshold():
    # A threshold below 0.4 is best for 2 of 3 cats, one above for the dog.
    summary = summary_of(
        (FOUND, 0, None), (FOUND, 0, None), (FOUND_CORE, 0, None), (FOUND_CORE, 1, None)
    )
    curve = summary["threshold_curve"]
    assert set(curve) == {"threshold", "0.3", "0.5", "0.7"}
    assert curve["threshold"] == [round(0.01 * i, 2) for i in range(100)]
    assert curve["0.5"] == [33.33] * 40 + [66.67] * 60  # (2/3 + 0) / 2, (1/3 + 1) / 2
    assert max(curve["0.5"]) <= summary["corloc"]["0.5"]  # chosen per class


def test_threshold_curve_includes_the_honest_corloc():
    frames = [(FOUND, 0, None), (FOUND_CORE, 0, None), (FOUND_CORE, 1, None)]
    for place in (0, 390, 400, 990):
        summary = summary_of(*frames, honest=THRESHOLDS[place])
        curve = summary["threshold_curve"]
        assert curve["0.5"][place // 10] == pytest.approx(summary["corloc_honest"]["0.5"], abs=0.01)


def test_without_frames_the_breakdown_is_empty():
    nothing = Verdicts([], np.array([]), np.array([], dtype=bool), None)
    assert per_video(nothing) == by_size(nothing) == {}
