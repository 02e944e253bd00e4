"""Command localize on streams: raw frames on standard input, addresses and cameras."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

import colocam.cli.localize_stream
from colocam.cli.localize import main
from colocam.data.decoding.open import open_video
from colocam.streaming.captures import ReadFrame
from colocam.streaming.raw_frames import RawFrames

ROOT = Path(__file__).resolve().parents[2]
SIZE = ["--size", "64x48"]
KEYS = ["video", "frame", "time", "class", "probability", "box", "score"]


@pytest.fixture
def pipe(monkeypatch):
    """Sets what standard input gives."""

    def give(data):
        of_data = functools.partial(RawFrames, open_file=lambda: io.BytesIO(data))
        monkeypatch.setattr(colocam.cli.localize_stream, "RawFrames", of_data)

    return give


@pytest.fixture
def localize(tiny_run, tmp_path, capfd):
    """Runs the command; returns exit status, records of a file of results, stdout and stderr."""

    def run(*argv, out=tmp_path / "out", name=None):
        argv = [*argv, "--ckpt", tiny_run.checkpoint("localizer-best"), "--out", out]
        capfd.readouterr()
        status = main([*map(str, argv), "--device", "cpu", "--amp", "off"])
        output, errors = capfd.readouterr()
        return status, name and read(out / name), output, errors

    return run


def read(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def raw(video):
    return np.stack(list(open_video(video, "video"))).tobytes()


def check_equal(records, of_file):
    """Checks records of a stream against those of boxes.json for the same frames."""
    for record, other in zip(records, of_file, strict=True):
        assert list(record)[:7] == KEYS
        assert set(record) == {*other, "time"}
        for key, value in other.items():
            if key in ("probability", "score", "all_scores", "empty"):
                assert record[key] == pytest.approx(value, abs=2e-3)
            elif key != "video":
                assert record[key] == value


@pytest.mark.parametrize(
    "options",
    [[], ["--boxes", "all", "--min-area", "0", "--smooth", "0.5", "--refine", "2",
          "--empty-over", "0.6", "--batch-size", "3"]],
)  # fmt: skip
def test_raw_frames_have_the_results_of_the_file(localize, pipe, write_video, tmp_path, options):
    video = write_video(tmp_path / "cat.mp4", 7)
    assert localize(video, "--overlay", "off", *options)[0] == 0
    of_file = json.loads((tmp_path / "out" / "boxes.json").read_text())
    pipe(raw(video))
    status, records, output, errors = localize(
        "-", *SIZE, "--fps", "10", *options, name="stdin.jsonl"
    )
    assert (status, errors) == (0, "")
    check_equal(records, of_file)
    assert {record["video"] for record in records} == {"-"}
    assert [record["time"] for record in records] == pytest.approx([n / 10 for n in range(7)])
    first, last = output.splitlines()
    path = tmp_path / "out" / "stdin.jsonl"
    assert first == f"standard input: results are written to {path}"
    assert last.startswith("standard input: 7 frames in ")
    assert last.endswith(f" frames/s: {path}")


def test_earlier_results_are_kept(localize, pipe, write_video, tmp_path):
    data = raw(write_video(tmp_path / "cat.mp4", 2))
    for name in ("stdin.jsonl", "stdin-2.jsonl"):
        pipe(data)
        assert len(localize("-", *SIZE, name=name)[1]) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "stdin-2.jsonl", "stdin.jsonl",
    ]  # fmt: skip


def test_half_a_frame_is_one_line_after_the_results_before(localize, pipe, write_video, tmp_path):
    pipe(raw(write_video(tmp_path / "cat.mp4", 3))[:-5000])
    status, records, output, errors = localize("-", *SIZE, name="stdin.jsonl")
    assert (status, len(records)) == (2, 2)
    assert "standard input: 2 frames in " in output
    assert errors.count("\n") == 1
    assert errors.startswith("error: -: standard input ends within frame 2, after 4216 of 9216")


def test_an_empty_input_leaves_nothing(localize, pipe, tmp_path):
    pipe(b"")
    status, _, output, errors = localize("-", *SIZE)
    assert (status, output, errors) == (2, "", "error: standard input: ends without a frame\n")
    assert not (tmp_path / "out").exists()


class Damaged(RawFrames):
    """A stream of which no frame can be decoded."""

    live, left = False, 3

    def open(self):
        return self

    def read(self):
        object.__setattr__(self, "left", self.left - 1)
        return ReadFrame(None, 0.0) if self.left >= 0 else None

    def close(self):
        pass


def test_a_stream_without_a_frame_that_can_be_decoded_is_an_error(localize, monkeypatch, tmp_path):
    monkeypatch.setattr(colocam.cli.localize_stream, "RawFrames", Damaged)
    status, _, output, errors = localize("-", *SIZE)
    assert (status, output) == (2, "")
    assert errors == "error: standard input: none of its frames can be decoded\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-"], "-: needs the size of the frames, such as --size 640x360"),
        (["-", "--size", "640"], "--size 640: must be WIDTHxHEIGHT, such as 640x360"),
        (["-", "--size", "0x9"], "--size 0x9: sides must be 1 to 16384 pixels"),
        (["-", *SIZE, "--fps", "0"], "--fps 0: must be a rate such as 30 or 30000/1001"),
        (["-", *SIZE, "--fps", "1/0"], "--fps 1/0: must be a rate"),
        (["-", *SIZE, "--fps", "fast"], "--fps fast: must be a rate"),
        (["-", *SIZE, "--pixel-format", "yuv420p"], "argument --pixel-format: invalid choice"),
        (["-", *SIZE, "--retry", "5"], "--retry: only for a camera or an address"),
        (["-", "-", *SIZE], "-: a stream must be the only VIDEO"),
        (["cat.mp4", "rtsp://me:mine@host/a"], "rtsp://host/a: a stream must be the only VIDEO"),
        (["0", "1"], "0: a stream must be the only VIDEO"),
        (["0", *SIZE], "--size: only for raw frames on standard input (-)"),
        (["rtsp://host", "--pixel-format", "rgb24"], "--pixel-format: only for raw frames"),
        (["cat.mp4", "--fps", "5"], "--fps: only for raw frames on standard input (-)"),
        (["cat.mp4", "--retry", "5"], "--retry: only for a camera or an address"),
        (["0", "--retry", "-1"], "--retry -1.0: must be at least 0"),
        (["0", "--retry", "nan"], "--retry nan: must be at least 0"),
        (["0", "--overlay", "on"], "--overlay on: not for a stream; record it"),
        (["0", "--heat", "on"], "--heat on: not for a stream, which has no overlay"),
        (["0", "--report"], "--report: not for a stream; record it, and localize the file"),
        (["cat.mp4", "--out", "-"], "--out -: only for a stream; give a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_fit_are_one_line(argv, message, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*argv, "--ckpt", "x"]) == 2
    errors = capfd.readouterr().err
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1
    assert "mine" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("99", "camera 99: cannot be read (no such camera, it is in use, or there is no permis"),
        ("rtsp://me:mine@127.0.0.1:9/a", "rtsp://127.0.0.1:9/a: cannot be read (Connection refus"),
        ("nothing://a", "nothing://a: cannot be read (Protocol not found)"),
    ],
)  # fmt: skip
def test_a_stream_that_cannot_be_opened_is_one_line(localize, tmp_path, video, message):
    status, _, output, errors = localize(video)
    assert (status, output) == (2, "")
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_whose_name_is_a_number_is_no_camera(localize, write_video, tmp_path, monkeypatch):
    write_video(tmp_path / "7", 2)
    monkeypatch.chdir(tmp_path)
    assert localize("7", "--overlay", "off", out=tmp_path / "out")[0] == 0
    assert {r["video"] for r in json.loads((tmp_path / "out/boxes.json").read_text())} == {"7"}


@pytest.fixture
def serve():
    """Serves bytes over http: serve(contents of each answer in turn) → address."""
    servers = []

    def start(*answers, length=None):
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if not left:
                    return self.send_error(503)
                self.send_response(200)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                return self.wfile.write(left.pop(0))

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        servers[-1].handle_error = lambda *_: None
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_file_over_http_has_the_results_of_the_file(localize, serve, write_video, tmp_path):
    video = write_video(tmp_path / "cat.avi", 9)
    assert localize(video, "--overlay", "off")[0] == 0
    of_file = json.loads((tmp_path / "out" / "boxes.json").read_text())
    data = video.read_bytes()
    url = serve(data, length=len(data)) + "/cat.avi?token=secret"
    port = url.rpartition(":")[2].partition("/")[0]
    status, records, output, errors = localize(url, name=f"127.0.0.1-{port}-cat.avi.jsonl")
    assert (status, errors) == (0, "")
    check_equal(records, of_file)
    assert {record["video"] for record in records} == {url.partition("?")[0]}
    assert "secret" not in output


def test_a_lost_stream_is_told_and_tried_again(localize, serve, write_video, tmp_path):
    data = write_video(tmp_path / "cat.avi", 40).read_bytes()
    url = serve(data[: len(data) * 2 // 3], data, length=len(data)) + "/a"
    port = url.rpartition(":")[2].partition("/")[0]
    status, records, output, errors = localize(url, name=f"127.0.0.1-{port}-a.jsonl")
    assert (status, errors) == (0, "")
    assert [record["frame"] for record in records] == list(range(40))
    warnings = [line for line in output.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert warnings[0].endswith(" (no connection); trying again")
    assert warnings[1] == f"warning: {url}: is there again, after 1 s"


class Video:
    """`cv2.VideoCapture` of a camera that gives some frames, and is unplugged for good."""

    frames, opened, on_frame = 12, 0, None

    def __init__(self, number):
        Video.opened += 1
        self.number = 0

    def isOpened(self):
        return Video.opened == 1

    def read(self):
        time.sleep(0.02)
        self.number += 1
        if Video.on_frame is not None:
            Video.on_frame(self.number)
        return self.number <= Video.frames, np.full((48, 64, 3), 10 * self.number % 256, np.uint8)

    def release(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    """Connects such a camera."""

    def connect(frames=12, on_frame=None):
        Video.frames, Video.opened, Video.on_frame = frames, 0, on_frame
        monkeypatch.setattr(cv2, "VideoCapture", Video)

    yield connect
    Video.on_frame = None


def test_a_camera_that_is_gone_ends_with_its_results_and_one_line(localize, camera, tmp_path):
    camera()
    status, records, output, errors = localize("0", "--retry", "0.05", name="camera-0.jsonl")
    assert status == 2
    assert "warning: camera 0: lost after 12 frames (it gives no frame any more); trying" in output
    assert errors == (
        "error: camera 0: lost after 12 frames (no such camera, it is in use, or there is no "
        "permission); not there again within 0.05 s (--retry)\n"
    )
    numbers = [record["frame"] for record in records]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 11  # the latest frame is never skipped
    skipped = 12 - len(records)
    assert (f"{skipped} skipped to keep up" in output) == (skipped > 0)


def test_a_slow_model_skips_frames_of_a_camera_and_counts_them(localize, camera, monkeypatch):
    camera(20)
    infer = colocam.cli.localize_stream.VideoLocalizer.infer

    def slow(self, *args):
        time.sleep(0.3)
        return infer(self, *args)

    monkeypatch.setattr(colocam.cli.localize_stream.VideoLocalizer, "infer", slow)
    status, _, output, _ = localize("0", "--retry", "0", "--batch-size", "2")
    assert status == 2
    last = output.splitlines()[-1]
    done = int(last.split(": ")[1].split()[0])
    assert f" {20 - done} skipped to keep up" in last
    assert done < 15


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stream_with_its_results_and_a_summary(localize, camera, number):
    def kill(frame):
        if frame == 8:
            os.kill(os.getpid(), number)

    camera(10**9, kill)
    status, _, output, errors = localize("0")
    assert (status, errors) == (128 + number, f"stopped by {signal.Signals(number).name}\n")
    assert output.splitlines()[-1].startswith("camera 0: ")
    assert not [one for one in threading.enumerate() if one.name == "stream"]


def fill(file, data):
    """Writes until nobody reads."""
    for _ in range(1000):
        file.write(data)
        file.flush()


def test_results_on_standard_output_stand_alone_and_end_with_their_reader(
    tiny_run, write_video, tmp_path
):
    data = raw(write_video(tmp_path / "cat.mp4", 16))
    argv = [sys.executable, "-m", "colocam.localize", "-", *SIZE, "--out", "-", "--device", "cpu"]
    argv += ["--ckpt", str(tiny_run.checkpoint("localizer-best")), "--batch-size", "4"]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(data)
        process.stdin.flush()
        lines = [json.loads(process.stdout.readline()) for _ in range(16)]  # the pipe is open
        assert [line["frame"] for line in lines] == list(range(16))
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            fill(process.stdin, data)
        process.stdin = None
        errors = process.stderr.read().decode()
    assert process.returncode == 0
    assert errors.startswith("standard input: ")
    assert errors.endswith(" frames/s: standard output\n")
    assert errors.count("\n") == 1
