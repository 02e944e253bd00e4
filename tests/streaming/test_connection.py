"""Connection: frames over losses, pauses, and what ends it."""

import itertools

import pytest

import colocam.streaming.connection
from colocam.runtime.errors import UserError
from colocam.streaming.captures import StreamError
from colocam.streaming.connection import Connection


class Clock:
    """A clock that pauses advance, and nothing else."""

    def __init__(self):
        self.now, self.pauses = 1000.0, []

    def monotonic(self):
        return self.now

    def wait(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def connect(monkeypatch):
    """Makes a connection and the lines that it reports; pauses take no time."""
    clock = Clock()
    monkeypatch.setattr(colocam.streaming.connection, "time", clock)

    def make(stream, retry=60.0):
        lines = []
        connection = Connection(stream, retry, lines.append)
        connection.clock = clock
        monkeypatch.setattr(connection._closed, "wait", clock.wait)
        return connection, lines

    return make


def grays(frames):
    return [None if frame.image is None else int(frame.image[0, 0, 0]) for frame in frames]


def test_frames_of_a_stream_that_is_lost_and_comes_back_are_numbered_on(connect, given):
    lost = StreamError("no connection")
    stream = given([[10, 11, lost], StreamError("refused"), [12], [13]])
    connection, lines = connect(stream)
    frames = list(itertools.islice(connection, 4))
    assert grays(frames) == [10, 11, 12, 13]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    seconds = [frame.seconds for frame in frames]
    assert seconds[0] == 0
    assert all(one < other for one, other in itertools.pairwise(seconds))
    assert lines == [
        "the stream: lost after 2 frames (no connection); trying again",
        "the stream: is there again, after 3 s",
        "the stream: lost after 3 frames (it ended); trying again",
        "the stream: is there again, after 1 s",
    ]
    assert connection.clock.pauses == [1, 2, 1]  # from the beginning after every frame
    assert stream.closed >= 2


def test_pauses_grow_to_30_seconds_until_the_time_is_over(connect, given):
    connection, lines = connect(given([[1]]), retry=100)
    with pytest.raises(UserError) as error:
        list(connection)
    assert connection.clock.pauses == [1, 2, 4, 8, 16, 30, 30, 9]
    assert str(error.value) == (
        "the stream: lost after 1 frame (nobody answers); not there again within 100 s (--retry)"
    )
    assert len(lines) == 1


def test_a_stream_that_opens_but_gives_no_frame_is_not_there_again(connect, given):
    connection, lines = connect(given([[1], [], [], [], [2]]), retry=20)
    assert grays(itertools.islice(connection, 2)) == [1, 2]
    assert connection.clock.pauses == [1, 2, 4, 8]
    assert [line.partition(":")[2][:8] for line in lines] == [" lost af", " is ther"]


def test_without_retry_a_lost_stream_ends_at_once(connect, given):
    connection, lines = connect(given([[1, 2, StreamError("cut")]]), retry=0)
    with pytest.raises(UserError, match=r"^the stream: lost after 2 frames \(cut\)$"):
        list(connection)
    assert (lines, connection.clock.pauses) == ([], [])


@pytest.mark.parametrize("opening", [StreamError("refused"), [StreamError("refused")]])
def test_a_stream_that_never_gave_a_frame_is_not_tried_again(connect, given, opening):
    stream = given([opening, [1]])
    connection, lines = connect(stream)
    with pytest.raises(UserError, match=r"^the stream: cannot be read \(refused\)$"):
        list(connection)
    assert (lines, connection.clock.pauses, stream.opened) == ([], [], 1)


def test_a_stream_that_is_not_live_ends_where_it_ends(connect, given):
    connection, lines = connect(given([[1, None, 3]], live=False))
    assert grays(connection) == [1, None, 3]
    assert lines == []
    with pytest.raises(UserError, match=r"^the stream: ends without a frame$"):
        list(connect(given([[]], live=False))[0])


def test_a_file_that_is_lost_is_continued_where_it_was(connect, given):
    connection, lines = connect(
        given([[1, None, StreamError("cut")], [1, StreamError("cut")], [1, 2, 3, 4]], live=False)
    )
    frames = list(connection)
    assert grays(frames) == [1, None, 3, 4]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert len(lines) == 2  # lost, there again


def test_a_broadcast_that_has_become_a_recording_ends(connect, given):
    stream = given([[1, 2]])
    connection, _ = connect(stream)
    frames = iter(connection)
    assert grays([next(frames), next(frames)]) == [1, 2]
    stream.openings.append([1, 2, 3])
    reopen = stream.open

    def recording():
        stream.live = False
        return reopen()

    stream.open = recording
    assert list(frames) == []


def test_errors_of_users_are_not_tried_again(connect, given):
    connection, lines = connect(given([[1, UserError("half a frame")], [2]], live=False))
    with pytest.raises(UserError, match=r"^half a frame$"):
        list(connection)
    assert lines == []
