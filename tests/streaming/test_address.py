"""Addresses: video over http, how it ends or is lost, and names without passwords."""

import socket
import time

import cv2
import numpy as np
import pytest
from hypothesis import given as given_values
from hypothesis import strategies as st

import colocam.streaming.address
from colocam.runtime.errors import UserError
from colocam.streaming.address import Address, is_address
from colocam.streaming.captures import StreamError
from colocam.streaming.connection import Connection

av = pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture
def clip(tmp_path):
    """Writes 20 frames that get brighter, at 10 frames per second."""

    def write(suffix, codec="mpeg4", container_options=None, noise=0, count=20, **options):
        rng = np.random.default_rng(0)
        path = tmp_path / f"clip{suffix}"
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=10, options=options)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(count):
                image = np.full((48, 64, 3), (10 * number + 20) % 256, np.uint8)
                image ^= rng.integers(0, noise + 1, image.shape, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


def frames_of(url):
    """Frames up to the end or the loss, which is the second value."""
    capture, frames = Address(url).open(), []
    try:
        while (frame := capture.read()) is not None:
            frames.append(frame)
        return frames, None
    except StreamError as error:
        return frames, str(error)
    finally:
        capture.close()


def check(frames, numbers):
    for frame, number in zip(frames, numbers, strict=True):
        assert frame.image.shape == (48, 64, 3)
        assert np.abs(frame.image.astype(int) - (10 * number + 20)).mean() < 8


@pytest.mark.parametrize(("suffix", "length"), [(".avi", True), (".ts", True), (".avi", False)])
def test_a_file_served_over_http_ends_without_a_loss(serve, answer_file, clip, suffix, length):
    url = serve(answer_file(clip(suffix), length=length)) + "/clip"
    capture = Address(url).open()
    assert not capture.live
    capture.close()
    frames, lost = frames_of(url)
    assert lost is None
    check(frames, range(20))
    seconds = np.array([frame.seconds for frame in frames])
    assert seconds - seconds[0] == pytest.approx(np.arange(20) / 10)


def test_a_file_that_is_cut_off_is_lost_and_then_continued(serve, answer_file, clip):
    path = clip(".ts")
    answers = [answer_file(path, share=0.6), answer_file(path)]
    url = serve(lambda handler: answers.pop(0)(handler))
    lines = []
    frames = list(Connection(Address(url), 9, lines.append, first_pause=0.01))
    assert [frame.index for frame in frames] == list(range(20))
    check(frames, range(20))
    assert len(lines) == 2
    assert "(no connection); trying again" in lines[0]


def test_an_mp4_whose_index_cannot_be_reached_says_so(serve, answer_file, clip):
    path = clip(".mp4", noise=200, count=120, b="8M")  # larger than what FFmpeg reads at once
    assert path.stat().st_size > 300_000
    with pytest.raises(UserError, match=r"cannot be read \(no connection, or the server has"):
        list(Connection(Address(serve(answer_file(path))), 0, print))
    path = clip("-first.mp4", container_options={"movflags": "faststart"})
    frames, lost = frames_of(serve(answer_file(path)))
    assert lost is None
    check(frames, range(20))


def test_a_video_without_length_and_duration_is_live(serve, answer_file, clip):
    url = serve(answer_file(clip(".ts"), length=False))
    assert Address(url).open().live
    frames, lost = frames_of(url)
    check(frames, range(20))
    assert lost == "no connection"


def test_pictures_of_a_camera_over_http_are_live(serve):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for number in range(20):
            picture = cv2.imencode(".jpg", np.full((48, 64, 3), 10 * number + 20, np.uint8))[1]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            handler.wfile.write(head.encode() + picture.tobytes() + b"\r\n")

    url = serve(answer)
    capture = Address(url).open()
    assert capture.live
    capture.close()
    frames, lost = frames_of(url)
    check(frames, range(20))
    assert lost == "no connection"


def test_interlaced_video_is_not_black(serve, answer_file, clip):
    path = clip(".ts", "mpeg2video", flags="+ildct+ilme")
    frames, lost = frames_of(serve(answer_file(path)))
    assert lost is None
    check(frames, range(20))


@pytest.mark.parametrize("begins", [False, True])
def test_a_server_that_does_not_answer_is_given_up(serve, clip, monkeypatch, begins):
    monkeypatch.setattr(colocam.streaming.address, "TIMEOUT", 0.3)
    data = clip(".ts").read_bytes()

    def answer(handler):
        if begins:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(data[: len(data) // 2])
            handler.wfile.flush()
        time.sleep(4)

    began = time.monotonic()
    if begins:
        frames, lost = frames_of(serve(answer))
        assert len(frames) >= 5
        assert lost == "no answer for 0.3 s"
    else:
        with pytest.raises(StreamError, match=r"^no answer for 0\.3 s$"):
            Address(serve(answer)).open()
    assert time.monotonic() - began < 3


def test_what_is_no_video_is_refused_with_the_reason(serve, answer_file, tmp_path, unused_port):
    (tmp_path / "page.html").write_text("<html>a page</html>")
    (tmp_path / "notes.txt").write_text("a text\n" * 100)
    (tmp_path / "empty").write_bytes(b"")
    reasons = {
        serve(answer_file(tmp_path / "page.html")): "Invalid data found when processing input",
        serve(answer_file(tmp_path / "notes.txt")) + "/notes.txt": "it is a text",
        serve(answer_file(tmp_path / "empty")): "",
        serve(lambda handler: handler.send_error(404)): "Server returned 404 Not Found",
        f"http://127.0.0.1:{unused_port}/x": "Connection refused",
        f"rtsp://127.0.0.1:{unused_port}/x": "Connection refused",
        "gopherus://127.0.0.1/x": "Protocol not found",
        f"file://{tmp_path}/none.mp4": "No such file or directory",
    }
    for url, reason in reasons.items():
        with pytest.raises(UserError) as error:
            list(Connection(Address(url), 0, print))
        assert f"{url}: cannot be read ({reason}" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.fixture
def unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "name", "file_name"),
    [
        ("rtsp://admin:p@ss@10.0.0.5:554/live?channel=1", "rtsp://10.0.0.5:554/live",
         "10.0.0.5-554-live"),
        ("HTTP://host", "HTTP://host", "host"),
        ("http://host/a@b/c.mp4#t=3", "http://host/a@b/c.mp4", "host-a-b-c.mp4"),
        ("udp://@:1234", "udp://:1234", "1234"),
        ("http://../..", "http://../..", "stream"),
        ("http://[::1]:80/ä/ü", "http://[::1]:80/ä/ü", "1-80-ä-ü"),
    ],
)  # fmt: skip
def test_names_have_no_password(url, name, file_name):
    address = Address(url)
    assert (address.name, address.video, address.file_name) == (name, name, file_name)


SAFE = st.text(st.characters(exclude_characters="/?#", exclude_categories=["Cs"]), max_size=8)


@given_values(SAFE, SAFE, SAFE, st.text(max_size=20))
def test_no_part_of_user_and_query_is_in_a_name(user, password, host, rest):
    marked = f"SECRET{password}SECRET"
    address = Address(f"rtsp://{user}:{marked}@{host}/p?{marked}{rest}")
    assert "SECRET" not in address.name
    assert "SECRET" not in address.file_name
    assert address.file_name
    assert not address.file_name.startswith((".", "-"))
    assert "/" not in address.file_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [("rtsp://a", True), ("HTTPS://a", True), ("file:///a", True), ("C://a.mp4", False),
     ("rtsp:/a", False), ("a/b://c", False), ("://a", False), ("video.mp4", False)],
)  # fmt: skip
def test_an_address_begins_with_a_scheme(text, expected):
    assert is_address(text) == expected
