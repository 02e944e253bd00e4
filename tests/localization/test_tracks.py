"""Tracks: when they begin, continue and end, and that they are causal."""

import numpy as np
import pytest

from colocam.localization.tracks import MIN_IOU, PATIENCE, Tracks

STILL = np.full((32, 32, 3), 90, np.uint8)
A, B = (0, 0, 9, 9), (20, 20, 29, 29)


def numbers(frames, **rules):
    tracks = Tracks(**rules)
    return [tracks.next(boxes, STILL) for boxes in frames]


def moved(box, x):
    return box[0] + x, box[1], box[2] + x, box[3]


def test_boxes_that_overlap_from_frame_to_frame_keep_their_number_in_any_order():
    frames = [[A, B], [moved(B, 2), moved(A, 1)], [moved(A, 2), moved(B, 4)]]
    assert numbers(frames) == [(1, 2), (2, 1), (1, 2)]


def test_a_box_without_enough_overlap_begins_a_track():
    assert 50 / 150 >= MIN_IOU > 40 / 160  # the IoU after 5 and 6 of 10 pixels
    assert numbers([[A], [moved(A, 5)]]) == [(1,), (1,)]
    assert numbers([[A], [moved(A, 6)]]) == [(1,), (2,)]


def test_the_best_pair_is_joined_first_and_a_track_has_one_box_per_frame():
    assert numbers([[A], [moved(A, 3), moved(A, 1)]]) == [(1,), (2, 1)]
    assert numbers([[A, moved(A, 4)], [moved(A, 3)]]) == [(1, 2), (2,)]


def test_a_track_continues_after_at_most_patience_frames_without_a_box():
    for patience in (0, 2, PATIENCE):
        gap = [[]] * patience
        assert numbers([[A], *gap, [A]], patience=patience)[-1] == (1,)
        assert numbers([[A], *gap, [], [A]], patience=patience)[-1] == (2,)


def test_a_number_is_not_used_again():
    assert numbers([[A], [], [B], [], [A]], patience=0) == [(1,), (), (2,), (), (3,)]


def test_a_cut_ends_every_track():
    tracks = Tracks()
    frames = [np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)]
    found = [tracks.next([A], frames[shot]) for shot in (0, 0, 1, 1)]
    assert found == [(1,), (1,), (2,), (2,)]


def test_numbers_do_not_depend_on_later_frames():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 20, (30, 3, 2)).tolist()
    frames = [
        [(x, y, x + 9, y + 9) for x, y in frame[: 1 + i % 3]] for i, frame in enumerate(corners)
    ]
    whole = numbers(frames)
    assert max(max(of_frame) for of_frame in whole) > 3
    for end in range(1, 30):
        assert numbers(frames[:end]) == whole[:end]


@pytest.mark.parametrize("rules", [{"min_iou": 0}, {"min_iou": 1.1}, {"patience": -1}])
def test_rules_out_of_range_are_an_error(rules):
    with pytest.raises(ValueError, match=f"{next(iter(rules))}: must be "):
        Tracks(**rules)
