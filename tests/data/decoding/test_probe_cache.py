"""Probe cache: videos are probed once for all runs that share a cache, and again if modified."""

import json
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from colocam.data.decoding import probe_cache, video_file
from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.open import open_video
from colocam.data.decoding.probe_cache import ProbeCache, digest_of
from colocam.data.decoding.seeking import SeekPoint
from colocam.data.decoding.video_file import VideoFrames, open_video_file
from colocam.data.layouts.open import open_data
from colocam.data.shots import shots
from colocam.runtime.errors import UserError


def scenes(lengths):
    """Pictures (48, 64, 3): a moving bar, with different colours in every scene."""
    for scene, length in enumerate(lengths):
        colour = np.random.default_rng(scene).integers(0, 256, (2, 3), np.uint8)
        for number in range(length):
            yield colour[(np.indices((48, 64))[1] - number) % 64 // 32]


def write_video(path, lengths):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for image in scenes(lengths):
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def data_folder(tmp_path):
    """Data folder of a long file, a long folder of images, and a truncated file."""
    data = tmp_path / "data"
    write_video(data / "cat" / "long.avi", (60, 50))
    (data / "dog" / "long").mkdir(parents=True)
    for number, image in enumerate(scenes((40, 50))):
        cv2.imwrite(str(data / "dog" / "long" / f"{number:03d}.png"), image)
    short = write_video(data / "dog" / "short.avi", (60,))
    whole = short.read_bytes()
    short.write_bytes(whole[: len(whole) // 2])
    return data


@pytest.fixture
def passes(monkeypatch):
    """Names of the functions that decode a whole video, one for each call."""
    done = []

    def watch(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: done.append(name) or function(*args))

    watch(video_file, "probe")
    watch(shots, "find_shots")
    return done


def test_a_second_run_probes_nothing_and_returns_the_same_data(data_folder, tmp_path, passes):
    without = open_data(data_folder, cut_over=80)
    assert any("container reports 60 frames" in note for note in without.notes)
    assert any("cut into 4 shots" in note for note in without.notes)
    assert sorted(passes) == ["find_shots"] * 2 + ["probe"] * 2
    for _ in range(2):
        assert open_data(data_folder, cut_over=80, cache=tmp_path / "cache") == without
    assert len(passes) == 2 * 4
    # With a lower limit, more videos may have to be cut.
    assert open_data(data_folder, cut_over=20, cache=tmp_path / "cache") == open_data(
        data_folder, cut_over=20
    )


def test_a_modified_video_is_probed_again(tmp_path):
    cache = ProbeCache(tmp_path / "cache")
    path = write_video(tmp_path / "a.avi", (30,))
    assert len(open_video(path, "a", probe_cache=cache)) == 30
    write_video(path, (50,))
    assert len(open_video(path, "a", probe_cache=cache)) == 50
    os.utime(path, ns=(0, 0))
    assert len(open_video(path, "a", probe_cache=cache)) == 50
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"[1, 2]", b"\xff\xfe"])
def test_a_damaged_record_is_replaced(tmp_path, damage):
    cache = ProbeCache(tmp_path / "cache")
    path = write_video(tmp_path / "a.avi", (30,))
    first = open_video(path, "a", probe_cache=cache)
    (record,) = (tmp_path / "cache").iterdir()
    whole = record.read_bytes()
    assert json.loads(whole)["num_frames"] == 30
    record.write_bytes(damage)
    assert open_video(path, "a", probe_cache=cache) == first
    assert record.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_ignored(tmp_path):
    path = write_video(tmp_path / "a.avi", (30,))
    (tmp_path / "file").touch()
    cache = ProbeCache(tmp_path / "file" / "cache")
    assert open_video(path, "a", probe_cache=cache) == open_video(path, "a")


def test_records_of_another_opencv_version_are_not_used(tmp_path, monkeypatch):
    cache = ProbeCache(tmp_path / "cache")
    path = write_video(tmp_path / "a.avi", (30,))
    open_video(path, "a", probe_cache=cache)
    monkeypatch.setattr(cv2, "__version__", "0.0")
    open_video(path, "a", probe_cache=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 2


# ---- records of earlier versions

VIDEO_RECORD = (
    '{"num_frames": 230, "size": [64, 48], "landmarks": [[100, 4000.0, 7]], "promised": 240.0, '
    '"reaches_end": true, "steps": [229, 9160.0], "damaged": %s}'
)
SHOTS_RECORD = '{"shots": [[0, 100], [100, 230]]}'


@pytest.fixture
def file_states(monkeypatch):
    """The same states of files and versions of decoders on every machine."""
    monkeypatch.setattr(probe_cache, "_file_state", lambda path: (path, 1234, 5678))
    monkeypatch.setattr(cv2, "__version__", "4.10.0")
    monkeypatch.setattr(av, "__version__", "18.1.0")


@pytest.fixture
def no_probing(monkeypatch):
    """Fails if a video is probed."""

    def refuse(*_):
        raise AssertionError("probed")

    monkeypatch.setattr(video_file, "probe", refuse)
    monkeypatch.setattr(shots, "find_shots", refuse)


def test_the_digest_of_fixed_parts_does_not_change(file_states):
    assert digest_of([1, "a"], ["/x"]) == "da3e9c4a0d686d2baaffaf64972bfebbb2346428"


@pytest.mark.parametrize("damaged", [False, True])
def test_records_of_video_files_are_found(tmp_path, file_states, no_probing, damaged):
    name = "d1382dbfc270ab69803cb6c44fad967f3883d0d8.video"
    (tmp_path / name).write_text(VIDEO_RECORD % json.dumps(damaged))
    path = "/data/cat/a.mp4"
    video = open_video_file(Path(path), "cat/a.mp4", [], ProbeCache(tmp_path))
    assert video == VideoFrames(
        path,
        "cat/a.mp4",
        230,
        (64, 48),
        (SeekPoint(100, 4000.0, 7),),
        reported_frames=240,
        damaged=damaged,
        steps=(229, 9160.0),
    )


@pytest.mark.parametrize(
    "name",
    [
        "39d922402ae0bbecfaa86be23ef1d36516a251aa",  # of OpenCV: checksums of wrong pictures
        "eba05313046e7e504772bd78a5291b34e412edd9",  # frames were counted as they were decoded
    ],
)
def test_records_of_other_frames_are_not_used(tmp_path, file_states, name):
    (tmp_path / f"{name}.video").write_text(VIDEO_RECORD % "false")
    with pytest.raises(UserError, match="cannot be decoded"):  # it is probed, and does not exist
        open_video_file(Path("/data/cat/a.mp4"), "cat/a.mp4", [], ProbeCache(tmp_path))


def test_records_of_shots_are_found(tmp_path, file_states, no_probing, monkeypatch):
    for name in (
        "8f4d64d610f43fad546b00e66ed2bb2733fd1cc1",
        "f5c7950585c099e34d3e7d360711aba2a5e08691",
    ):
        (tmp_path / f"{name}.video").write_text(SHOTS_RECORD)
    file = VideoFrames("/data/cat/a.mp4", "cat/a.mp4", 230, (64, 48))
    folder = ImageFrames(tuple(f"/data/dog/b/{n:04d}.jpg" for n in range(200)), "dog/b")
    for video in (file, folder):
        found = shots.cut_into_shots(video, 100, ProbeCache(tmp_path))
        assert [(shot.start, shot.stop) for shot in found] == [(0, 100), (100, 230)]
    monkeypatch.setattr(av, "__version__", "0.0")  # its frames may be others
    with pytest.raises(AssertionError, match="probed"):
        shots.cut_into_shots(file, 100, ProbeCache(tmp_path))


def test_records_are_written_in_the_same_format(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.avi", (120,))
    open_video(path, "a", probe_cache=ProbeCache(tmp_path / "cache"))
    (record,) = (tmp_path / "cache").iterdir()
    stored = json.loads(record.read_text())
    assert list(stored) == list(json.loads(VIDEO_RECORD % "false"))
    ((index, time, checksum),) = stored["landmarks"]
    assert (index, time) == (100, 4000.0)
    assert isinstance(checksum, int)
