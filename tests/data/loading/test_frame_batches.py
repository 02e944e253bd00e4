"""Batches of single frames for evaluation."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.decoding.images import ImageFrames
from colocam.data.loading.frame_batches import frame_batches
from colocam.data.records import BoxedFrame


class Numbered:
    """Frames whose pixel values are the frame number; records the calls of `read`."""

    def __init__(self, name, num_frames, bad=(), size=(60, 50)):
        self.name, self.num_frames, self.bad, self.size = name, num_frames, bad, size
        self.reads = []

    def __len__(self):
        return self.num_frames

    def read(self, indices):
        self.reads.append(list(indices))
        shape = (*self.size[::-1], 3)
        return [None if i in self.bad else np.full(shape, i, np.uint8) for i in indices]


def records_of(source, indices, label=1):
    return [
        BoxedFrame(f"{source.name}#{index}", label, source.name, source, index, ((0, 0, 5, 5),))
        for index in indices
    ]


def test_frames_are_in_order_with_their_original_sizes():
    one, other = Numbered("one", 9), Numbered("other", 9, size=(30, 20))
    records = [*records_of(one, [5, 2]), *records_of(other, [7]), *records_of(one, [3, 3])]
    batches = list(frame_batches(records, 16, 2))
    assert [len(batch.images) for batch in batches] == [2, 2, 1]
    assert [record for batch in batches for record in batch.records] == records
    images = torch.cat([batch.images for batch in batches])
    assert images.shape == (5, 3, 16, 16)
    assert images[:, 2, 0, 0].tolist() == [5, 2, 7, 3, 3]
    sizes = [size for batch in batches for size in batch.sizes]
    assert sizes == [(60, 50), (60, 50), (30, 20), (60, 50), (60, 50)]


def test_a_source_is_read_once_per_batch():
    one, other = Numbered("one", 9), Numbered("other", 9)
    records = [*records_of(one, [5]), *records_of(other, [7]), *records_of(one, [3, 8])]
    list(frame_batches(records, 16, 3))
    assert one.reads == [[5, 3], [8]]
    assert other.reads == [[7]]


def test_unreadable_evaluation_frames_are_skipped_and_named(tmp_path):
    source = Numbered("one", 9, bad=(2, 4, 6))
    missing = ImageFrames((str(tmp_path / "gone.jpg"),), "gone.jpg")
    records = [*records_of(source, [1, 2, 4, 6, 3]), *records_of(missing, [0])]
    first, second, third = frame_batches(records, 16, 2)
    assert [record.index for record in first.records] == [1]
    assert first.unreadable == ("one#2",)
    assert second.images.shape == (0, 3, 16, 16)
    assert second.records == second.sizes == ()
    assert second.unreadable == ("one#4", "one#6")
    assert third.images[:, 2, 0, 0].tolist() == [3]
    assert third.unreadable == ("gone.jpg#0",)


def test_without_records_there_is_no_batch():
    assert list(frame_batches([], 16, 4)) == []


@given(st.integers(0, 17), st.integers(1, 5), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_ranks_read_every_frame_once_in_the_batches_of_one_process(count, batch_size, world):
    source = Numbered("one", 20, bad=(3, 8))
    records = records_of(source, range(count))
    alone = list(frame_batches(records, 16, batch_size))
    ranks = [list(frame_batches(records, 16, batch_size, rank, world)) for rank in range(world)]
    assert sum(map(len, ranks)) == len(alone)
    seen = []
    for number, expected in enumerate(alone):
        got = ranks[number % world][number // world]
        assert torch.equal(got.images, expected.images)
        assert got.records == expected.records
        assert got.sizes == expected.sizes
        assert got.unreadable == expected.unreadable
        seen += [record.index for record in got.records]
        seen += [int(name.split("#")[1]) for name in got.unreadable]
    assert sorted(seen) == list(range(count))
