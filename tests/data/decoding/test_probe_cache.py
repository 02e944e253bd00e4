"""Videos are gone through once for all runs that share a cache, and anew where they changed."""

import json
import os

import cv2
import numpy as np
import pytest

from colocam.data.decoding import video_file as frames
from colocam.data.decoding.open import open_video
from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.layouts.open import open_data
from colocam.data.shots import shots as shot_frames


def scenes(lengths):
    """Pictures (48, 64, 3): a bar that moves, in another colour in every scene."""
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
    """A long file, a long folder, and a file that is cut short."""
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
    """What goes through a whole video from now on: names of functions."""
    done = []

    def watch(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: done.append(name) or function(*args))

    watch(frames, "_go_through")
    watch(shot_frames, "find_shots")
    return done


def test_a_second_run_goes_through_nothing_and_opens_the_same(data_folder, tmp_path, passes):
    without = open_data(data_folder, cut_over=80)
    assert any("promises 60 frames" in note for note in without.notes)
    assert any("cut into 4 shots" in note for note in without.notes)
    assert sorted(passes) == ["_go_through"] * 2 + ["find_shots"] * 2
    for _ in range(2):
        assert open_data(data_folder, cut_over=80, cache=tmp_path / "cache") == without
    assert len(passes) == 2 * 4
    # As soon as another length is long, one more video may have to be cut.
    assert open_data(data_folder, cut_over=20, cache=tmp_path / "cache") == open_data(
        data_folder, cut_over=20
    )


def test_a_changed_video_is_looked_at_anew(tmp_path):
    known = ProbeCache(tmp_path / "cache")
    path = write_video(tmp_path / "a.avi", (30,))
    assert len(open_video(path, "a", known=known)) == 30
    write_video(path, (50,))
    assert len(open_video(path, "a", known=known)) == 50
    os.utime(path, ns=(0, 0))
    assert len(open_video(path, "a", known=known)) == 50
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"[1, 2]", b"\xff\xfe"])
def test_a_damaged_record_is_made_anew(tmp_path, damage):
    known = ProbeCache(tmp_path / "cache")
    path = write_video(tmp_path / "a.avi", (30,))
    first = open_video(path, "a", known=known)
    (record,) = (tmp_path / "cache").iterdir()
    whole = record.read_bytes()
    assert json.loads(whole)["num_frames"] == 30
    record.write_bytes(damage)
    assert open_video(path, "a", known=known) == first
    assert record.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    path = write_video(tmp_path / "a.avi", (30,))
    (tmp_path / "file").touch()
    known = ProbeCache(tmp_path / "file" / "cache")
    assert open_video(path, "a", known=known) == open_video(path, "a")


def test_what_another_opencv_found_is_not_believed(tmp_path, monkeypatch):
    known = ProbeCache(tmp_path / "cache")
    path = write_video(tmp_path / "a.avi", (30,))
    open_video(path, "a", known=known)
    monkeypatch.setattr(cv2, "__version__", "0.0")
    open_video(path, "a", known=known)
    assert len(list((tmp_path / "cache").iterdir())) == 2
