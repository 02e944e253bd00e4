"""Reader: which frames are given, skipped and held, and how its thread ends."""

import threading
import time
import tracemalloc

import numpy as np
import pytest

from colocam.runtime.errors import UserError
from colocam.streaming.captures import StreamError
from colocam.streaming.connection import Connection
from colocam.streaming.reader import FrameReader


@pytest.fixture
def read():
    """Makes a reader of a stream, which is closed after the test."""
    readers = []

    def make(stream, capacity=1, retry=0.0):
        connection = Connection(stream, retry, lambda line: None)
        readers.append(FrameReader(connection, lambda frame: capacity))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()
        assert not reader._thread.is_alive()


def indices(batches):
    return [[frame.index for frame in batch] for batch in batches]


def test_a_stream_that_waits_is_given_whole_in_bounded_batches(read, given):
    reader = read(given([range(100)], live=False), capacity=4)
    batches = []
    for batch in reader.batches():
        batches.append(batch)
        time.sleep(0.002)
    assert [index for batch in indices(batches) for index in batch] == list(range(100))
    assert max(map(len, batches)) == 4
    assert reader.skipped == 0


def test_a_stream_that_waits_is_not_read_ahead(read, given):
    stream = given([range(100)], live=False)
    reader = read(stream, capacity=3)
    batches = reader.batches()
    next(batches)
    time.sleep(0.1)
    assert len(stream.left) >= 93  # at most 3 given, 3 wait, and one is in hand


def test_of_a_live_stream_the_latest_frames_are_given(read, given):
    reader = read(given([[*range(20), StreamError("cut")]]), capacity=2)
    batches = reader.batches()
    reader._thread.start, start = (lambda: None), reader._thread.start
    start()
    reader._thread.join()
    assert indices([next(batches)]) == [[18, 19]]
    assert reader.skipped == 18
    with pytest.raises(UserError, match="lost after 20 frames"):
        next(batches)


def test_a_fast_model_skips_no_frame_of_a_live_stream(read, given):
    reader = read(given([[*range(10), StreamError("cut")]], interval=0.02))
    found = []
    with pytest.raises(UserError, match="lost after 10 frames"):
        found.extend(reader.batches())
    found = [frame for batch in found for frame in batch]
    assert len(found) + reader.skipped == 10
    assert len(found) >= 4  # all, but on a machine that is busy


def test_frames_that_cannot_be_decoded_are_counted_and_keep_their_numbers(read, given):
    reader = read(given([[None, 1, None, 3]], live=False), capacity=8)
    assert [index for batch in indices(reader.batches()) for index in batch] == [1, 3]
    assert (reader.undecoded, reader.skipped) == (2, 0)


def test_frames_before_an_error_are_given(read, given):
    reader = read(given([[1, 2, UserError("half a frame")]], live=False), capacity=8)
    found = []
    with pytest.raises(UserError, match="half a frame"):
        found.extend(reader.batches())
    assert [index for batch in indices(found) for index in batch] == [0, 1]


def test_other_errors_of_the_thread_are_raised(read, given):
    reader = read(given([[1, ZeroDivisionError("a fault of ours")]], live=False), capacity=8)
    with pytest.raises(ZeroDivisionError):
        list(reader.batches())


def test_waiting_ends_when_it_is_stopped(read, given):
    stopped = threading.Event()
    reader = read(given([[1, 2]], interval=0.7))
    threading.Timer(0.05, stopped.set).start()
    began = time.monotonic()
    assert list(reader.batches(stopped.is_set)) == []
    assert time.monotonic() - began < 0.65


@pytest.mark.parametrize("live", [True, False])
def test_the_thread_ends_and_closes_the_stream_when_the_reader_is_closed(read, given, live):
    stream = given([range(10_000)], live=live, interval=0.001)
    reader = read(stream, capacity=2)
    next(reader.batches())
    reader.close()
    assert not reader._thread.is_alive()
    assert stream.closed == 1


def test_memory_does_not_grow_with_the_frames(read, given):
    stream = given([(number % 256 for number in range(4000))], live=False)
    reader, sizes, count = read(stream, capacity=4), [], 0
    tracemalloc.start()
    for batch in reader.batches():
        assert all(isinstance(frame.image, np.ndarray) for frame in batch)
        count += len(batch)
        del batch
        if count % 500 < 4:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert count == 4000
    assert max(sizes[4:]) - max(sizes[:4]) < 20_000
