"""Selection of the frames that a report shows."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.report.examples import by_overlap, spread


def records_of(videos):
    return [SimpleNamespace(id=f"{video}#{i}", video=video) for i, video in enumerate(videos)]


overlaps_of_videos = st.lists(
    st.tuples(st.sampled_from("abcd"), st.none() | st.floats(0, 1)), max_size=40
)


@settings(deadline=None, max_examples=200)
@given(overlaps_of_videos, st.integers(1, 8))
def test_groups_are_disjoint_equal_in_size_and_have_boxes(frames, count):
    records = records_of([video for video, _ in frames])
    overlaps = [overlap for _, overlap in frames]
    groups = by_overlap(records, overlaps, count)
    known = sum(overlap is not None for overlap in overlaps)
    shown = [record for group in groups.values() for record in group]
    places = [records.index(record) for record in shown]
    assert len(set(places)) == len(places)
    assert all(overlaps[place] is not None for place in places)
    if known >= 3:
        assert {len(group) for group in groups.values()} == {min(count, known // 3)}
        assert list(groups) == ["best", "median", "worst"]
    assert bool(groups) == (known > 0)


def test_groups_have_one_frame_per_video_if_there_are_enough_videos():
    videos = "aabbccddeeff"
    overlaps = [0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.3, 0.2, 0.1, 0.0]
    records = records_of(videos)
    groups = by_overlap(records, overlaps, 2)
    found = {name: [records.index(one) for one in group] for name, group in groups.items()}
    assert found["best"] == [0, 2]  # 1 is of the same video as 0
    assert found["worst"] == [11, 9]
    assert found["median"] == [6, 5]


def test_groups_have_more_frames_per_video_if_there_is_only_one():
    records = records_of("aaaaaa")
    groups = by_overlap(records, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2)
    assert [records.index(one) for one in groups["best"]] == [5, 4]
    assert [records.index(one) for one in groups["worst"]] == [0, 1]
    assert sorted(records.index(one) for one in groups["median"]) == [2, 3]


def test_spread_includes_both_ends():
    records = list(range(100))
    assert spread(records, 4) == [0, 33, 66, 99]
    assert spread(records[:3], 4) == [0, 1, 2]
    assert spread([], 4) == []
