"""Frame cache: batches never depend on its contents; entries, damage, eviction, disk errors."""

import errno
import hashlib
import multiprocessing
import os
import time
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.decoding import images, probe_cache, video_file
from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.open import open_video
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.loading import cache as cache_module
from colocam.data.loading.cache import CacheWarnings, FrameCache, read_resized
from colocam.data.loading.cache_entry import DamagedEntry, entry_bytes, read_entry, write_entry
from colocam.data.loading.loader import SequenceLoader
from colocam.data.loading.sequence_dataset import SequenceSettings
from colocam.data.records import Shot
from colocam.data.shots.shots import ShotFrames

SETTINGS = SequenceSettings(
    frames=3, sampling="adjacent", frame_limit=0.6, resize=40, crop=32, seed=5
)
SIDE, PLENTY = 40, 10**9


@pytest.fixture
def cache(tmp_path) -> FrameCache:
    return FrameCache(tmp_path / "cache", PLENTY)


@pytest.fixture
def shots(tmp_path, write_video) -> list[Shot]:
    """Shots of two folders of images, one with an undecodable frame, and of two video files."""
    names = ("one", "two", "three.mp4", "four.mp4")
    paths = [
        write_video(tmp_path / "data" / name, num_frames=9 + k) for k, name in enumerate(names)
    ]
    (paths[0] / "0004.jpg").write_bytes(b"no picture")
    return [
        Shot(path.name, number % 2, path.name, open_video(path, path.name))
        for number, path in enumerate(paths)
    ]


@pytest.fixture
def video(tmp_path, write_video) -> VideoFrames:
    return open_video(write_video(tmp_path / "video.mp4"), "video.mp4")


def entries(cache):
    return sorted(path for path in cache.folder.iterdir() if path.suffix == ".frames")


def no_decoding(monkeypatch):
    def refuse(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(images, "_decode_image", refuse)
    monkeypatch.setattr(video_file, "Capture", refuse)


def assert_same(batches, others):
    for one, other in zip(batches, others, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.images.stride() == other.images.stride()
        for name in ("labels", "sequence", "anchors"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert (one.names, one.unreadable, one.blank) == (
            other.names,
            other.unreadable,
            other.blank,
        )


# ---- batches


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampling", ["adjacent", "interval", "gaussian"])
def test_batches_are_the_same_with_and_without_a_cache(shots, cache, sampling, workers):
    options = replace(SETTINGS, sampling=sampling)
    plain = SequenceLoader(shots, options, 6)
    cached = SequenceLoader(shots, options, 6, workers=workers, cache=cache)
    for epoch in range(3):  # filled in the first epoch
        assert_same(plain.epoch(epoch), cached.epoch(epoch))
    cached.close()
    assert len(entries(cache)) == len(shots)


def test_batches_are_the_same_after_resuming_in_an_epoch(shots, cache):
    whole = list(SequenceLoader(shots, SETTINGS, 3, cache=cache).epoch(0))
    again = SequenceLoader(shots, SETTINGS, 3, cache=replace_folder(cache, "other"))
    assert_same(whole[2:], again.epoch(0, first=2))


def replace_folder(cache, name):
    return FrameCache(cache.folder.with_name(name), cache.max_bytes)


def test_stored_frames_are_not_decoded_again(shots, cache, monkeypatch):
    del shots[0]  # has an undecodable frame, which is decoded again
    first = list(SequenceLoader(shots, SETTINGS, 6, cache=cache).epoch(0))
    no_decoding(monkeypatch)
    for epoch in range(4):
        batches = list(SequenceLoader(shots, SETTINGS, 6, cache=cache).epoch(epoch))
        assert sum(len(batch.images) for batch in batches) == 9
    assert_same(first, SequenceLoader(shots, SETTINGS, 6, cache=cache).epoch(0))


def test_only_frames_that_may_be_drawn_are_stored(video, cache):
    (first,) = cache.read(video, [2], range(2, 8), SIDE)
    assert np.array_equal(first, read_resized(video, [2], SIDE)[0])
    (entry,) = entries(cache)
    assert entry.stat().st_size == entry_bytes(6, SIDE)
    assert entry.stat().st_size - 6 * 3 * SIDE**2 <= 4096


def test_other_frame_sources_are_not_cached(cache):
    class Drawn:
        name = "drawn"

        def __len__(self):
            return 5

        def read(self, indices):
            return [np.full((50, 60, 3), index, np.uint8) for index in indices]

    found = cache.read(Drawn(), [3, 1], range(5), SIDE)
    assert [frame[0, 0, 0] for frame in found] == [3, 1]
    assert not cache.folder.exists()


# ---- names of entries


def test_each_side_window_and_file_state_has_its_own_entry(video, cache, write_video):
    def numbers(side, window):
        fresh = FrameCache(cache.folder, PLENTY)  # as in the next run
        fresh.read(video, [window.start], window, side)
        return len(entries(cache))

    assert numbers(40, range(2, 8)) == 1
    assert numbers(40, range(2, 8)) == 1
    assert numbers(32, range(2, 8)) == 2
    assert numbers(40, range(1, 8)) == 3
    assert numbers(40, range(2, 9)) == 4
    os.utime(video.path, ns=(10**18, 10**18))
    assert numbers(40, range(2, 8)) == 5
    with open(video.path, "ab") as file:
        file.write(b"\0")
    os.utime(video.path, ns=(10**18, 10**18))
    assert numbers(40, range(2, 8)) == 6


def test_a_modified_frame_of_a_folder_is_decoded_again(tmp_path, write_video, cache):
    folder = write_video(tmp_path / "frames")
    frames = open_video(folder, "frames")
    before = cache.read(frames, [4], range(2, 8), SIDE)[0].copy()
    cv2.imwrite(str(folder / "0004.jpg"), np.full((48, 64, 3), 255, np.uint8))
    (after,) = FrameCache(cache.folder, PLENTY).read(frames, [4], range(2, 8), SIDE)
    assert after.min() > 250
    assert not np.array_equal(before, after)


def test_videos_of_the_same_name_have_separate_entries(tmp_path, write_video, cache):
    one, other = (
        open_video(write_video(tmp_path / name / "a.mp4", size=size), "a.mp4")
        for name, size in (("x", (64, 48)), ("y", (48, 64)))
    )
    for frames in (one, other):
        (found,) = cache.read(frames, [3], range(2, 8), SIDE)
        assert np.array_equal(found, read_resized(frames, [3], SIDE)[0])


# ---- undecodable frames


def test_an_undecodable_frame_is_none_and_is_decoded_again(tmp_path, write_video, cache):
    folder = write_video(tmp_path / "frames")
    good, bad = (folder / "0005.jpg").read_bytes(), b"x" * 100
    (folder / "0005.jpg").write_bytes(bad)
    frames = ImageFrames(tuple(map(str, sorted(folder.iterdir()))), "frames")
    for _ in range(2):
        found = cache.read(frames, [4, 5, 6], range(2, 8), SIDE)
        assert [frame is None for frame in found] == [False, True, False]
    (folder / "0005.jpg").write_bytes(good)  # the file is readable again
    found = cache.read(frames, [6, 5], range(2, 8), SIDE)
    for frame, expected in zip(found, read_resized(frames, [6, 5], SIDE), strict=True):
        assert np.array_equal(frame, expected)
    assert cache.pop_warnings() == CacheWarnings()


def test_missing_files_are_none(tmp_path, cache):
    frames = ImageFrames((str(tmp_path / "missing.jpg"),), "missing")
    assert cache.read(frames, [0], range(1), SIDE) == [None]


# ---- damage


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "cut short":
        del data[-1000:]
    elif how == "longer":
        data += b"\0"
    elif how == "never reached the disk":
        data = bytearray(len(data))
    elif how == "half of it never reached the disk":
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    elif how == "another format":
        data[7] += 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "how",
    [
        *("empty", "cut short", "longer", "never reached the disk"),
        *("half of it never reached the disk", "another format"),
    ],
)
def test_a_damaged_entry_is_decoded_again_replaced_and_reported(video, cache, how):
    window, indices = range(2, 8), [5, 6, 7]
    expected = [frame.copy() for frame in cache.read(video, indices, window, SIDE)]
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    damage(entry, how)
    found = cache.read(video, indices, window, SIDE)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert cache.pop_warnings() == CacheWarnings(damaged=("video.mp4",))
    assert cache.pop_warnings() == CacheWarnings()
    assert entry.read_bytes() == whole
    assert entries(cache) == [entry]


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_flipped_bit_is_detected_or_harmless(tmp_path_factory, data):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (8, 8, 3), np.uint8), None, np.zeros((8, 8, 3), np.uint8)]
    path = tmp_path_factory.mktemp("entry") / "entry"
    with path.open("wb") as file:
        write_entry(file, frames, 3, 8)
    stored = bytearray(path.read_bytes())
    area = data.draw(st.sampled_from([range(40), range(4096, len(stored))]))
    position = data.draw(st.sampled_from(area))
    stored[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(stored)
    with path.open("rb", buffering=0) as file:
        try:
            found = read_entry(file, 3, 8, [2, 0, 1])
        except DamagedEntry:
            return
    for frame, expected in zip(found, [frames[2], frames[0], None], strict=True):
        assert (frame is None and expected is None) or np.array_equal(frame, expected)


def test_the_loader_reports_damaged_entries_once_per_epoch(shots, cache):
    warnings = []
    loader = SequenceLoader(shots, SETTINGS, 6, cache=cache, warn=warnings.append)
    list(loader.epoch(0))
    assert warnings == []
    for entry in entries(cache)[:3]:
        damage(entry, "cut short")
    list(loader.epoch(1))
    list(loader.epoch(2))
    (line,) = warnings
    assert line.startswith("3 damaged files of the frame cache decoded again (first: ")


def test_unfinished_files_of_killed_processes_are_not_read_and_removed_after_an_hour(video, cache):
    cache.read(video, [3], range(2, 8), SIDE)
    (entry,) = entries(cache)
    fresh, old = (cache.folder / f".{entry.stem}-{k}.unfinished" for k in (1, 2))
    for path in (fresh, old):
        path.write_bytes(b"half")
    hours_ago = time.time_ns() - 2 * 3600 * 10**9
    os.utime(old, ns=(hours_ago, hours_ago))
    entry.unlink()
    cache = FrameCache(cache.folder, PLENTY)
    (found,) = cache.read(video, [3], range(2, 8), SIDE)
    assert np.array_equal(found, read_resized(video, [3], SIDE)[0])
    assert fresh.exists()
    assert not old.exists()


# ---- several processes


def fill(folder, video, barrier, errors):
    cache = FrameCache(folder, PLENTY)
    try:
        for side in range(40, 60):
            barrier.wait(30)
            for frame in cache.read(video, [2, 3, 4], range(2, 8), side):
                assert frame.shape == (side, side, 3)
        assert cache.pop_warnings() == CacheWarnings()
        errors.put(None)
    except BaseException as error:
        errors.put(repr(error))


def test_two_processes_may_write_the_same_entries_concurrently(video, cache):
    fork = multiprocessing.get_context("fork")
    barrier, errors = fork.Barrier(2), fork.Queue()
    processes = [
        fork.Process(target=fill, args=(cache.folder, video, barrier, errors)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    assert [errors.get(timeout=60) for _ in processes] == [None, None]
    for process in processes:
        process.join()
    assert len(list(cache.folder.iterdir())) == 20  # no unfinished files
    for side in (40, 59):
        (found,) = cache.read(video, [7], range(2, 8), side)
        assert np.array_equal(found, read_resized(video, [7], side)[0])
    assert len(entries(cache)) == 20


def test_frames_stay_valid_when_another_process_removes_their_entry(video, cache):
    (found,) = cache.read(video, [3], range(2, 8), SIDE)
    for entry in entries(cache):
        entry.unlink()
    assert np.array_equal(found, read_resized(video, [3], SIDE)[0])
    cache.read(video, [4], range(2, 8), SIDE)
    assert len(entries(cache)) == 1
    assert cache.pop_warnings() == CacheWarnings()


# ---- eviction


def test_least_recently_used_entries_are_evicted(video, cache):
    size = entry_bytes(6, SIDE)
    windows = [range(start, start + 6) for start in range(4)]
    kept = {}
    for number, window in enumerate(windows[:3]):
        cache.read(video, [4], window, SIDE)
        (kept[number],) = set(entries(cache)) - set(kept.values())
    for number, age in ((0, 30), (1, 10), (2, 20)):
        then = time.time_ns() - age * 10**9
        os.utime(kept[number], ns=(then, then))
    FrameCache(cache.folder, 3 * size).read(video, [4], windows[3], SIDE)
    left = entries(cache)
    assert len(left) == 3
    assert kept[0] not in left
    FrameCache(cache.folder, 2 * size).read(video, [5], range(5, 10), SIDE)
    assert kept[1] in left
    assert kept[2] not in entries(cache)
    assert sum(path.stat().st_size for path in entries(cache)) <= 2 * size


def test_reading_an_entry_is_a_use(video, cache):
    windows = [range(start, start + 6) for start in range(3)]
    for window in windows[:2]:
        cache.read(video, [4], window, SIDE)
    long_ago = time.time_ns() - 10**12
    for entry in entries(cache):
        os.utime(entry, ns=(long_ago, long_ago))
    cache = FrameCache(cache.folder, 2 * entry_bytes(6, SIDE))
    cache.read(video, [4], windows[0], SIDE)
    (used,) = (path for path in entries(cache) if path.stat().st_mtime_ns > long_ago)
    cache.read(video, [4], windows[2], SIDE)
    assert used in entries(cache)
    assert len(entries(cache)) == 2


def test_entries_used_in_this_run_are_not_evicted_and_the_limit_is_reported_once(shots, cache):
    plain = SequenceLoader(shots, SETTINGS, 6)
    two = entry_bytes(7, SIDE) * 2
    warnings = []
    small = FrameCache(cache.folder, two)
    loader = SequenceLoader(shots, SETTINGS, 6, cache=small, warn=warnings.append)
    assert_same(plain.epoch(0), loader.epoch(0))
    stored = entries(cache)
    assert len(stored) >= 2
    for epoch in (1, 2):
        assert_same(plain.epoch(epoch), loader.epoch(epoch))
    assert entries(cache) == stored
    assert sum(path.stat().st_size for path in stored) <= two
    (line,) = warnings
    assert "not all frames fit" in line


def test_frames_stay_valid_when_their_entry_is_evicted(video, cache):
    size = entry_bytes(6, SIDE)
    (found,) = cache.read(video, [4], range(6), SIDE)
    long_ago = time.time_ns() - 10**12
    os.utime(entries(cache)[0], ns=(long_ago, long_ago))
    (other,) = FrameCache(cache.folder, size).read(video, [4], range(1, 7), SIDE)
    assert len(entries(cache)) == 1
    assert np.array_equal(found, other)
    assert np.array_equal(found, read_resized(video, [4], SIDE)[0])


def test_other_files_in_the_folder_are_not_removed(video, cache):
    cache.folder.mkdir()
    (cache.folder / "thesis.tex").write_text("years of work" * 1000)
    os.utime(cache.folder / "thesis.tex", ns=(0, 0))
    FrameCache(cache.folder, entry_bytes(6, SIDE)).read(video, [4], range(6), SIDE)
    FrameCache(cache.folder, 0).read(video, [4], range(1, 7), SIDE)
    assert (cache.folder / "thesis.tex").exists()


# ---- disk errors


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_disables_writing_with_one_warning(shots, cache, monkeypatch, workers):
    def fill_up(file, frames, count, side):
        file.write(b"some of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "write_entry", fill_up)
    plain, warnings = SequenceLoader(shots, SETTINGS, 6), []
    loader = SequenceLoader(shots, SETTINGS, 6, workers=workers, cache=cache, warn=warnings.append)
    for epoch in range(2):
        assert_same(plain.epoch(epoch), loader.epoch(epoch))
    loader.close()
    assert warnings == [
        f"{cache.folder}: cannot be written (No space left on device); frames that are not stored "
        "yet are decoded in every epoch"
    ]
    assert list(cache.folder.iterdir()) == []


def test_a_folder_that_cannot_be_created_disables_writing_with_one_warning(shots, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    plain = SequenceLoader(shots, SETTINGS, 6)
    loader = SequenceLoader(shots, SETTINGS, 6, cache=FrameCache(tmp_path / "file", PLENTY))
    for epoch in range(2):
        assert_same(plain.epoch(epoch), loader.epoch(epoch))
    error = capsys.readouterr().err
    assert error.startswith(f"warning: {tmp_path / 'file'}: cannot be written (")
    assert error.count("\n") == 1


def test_entries_in_a_read_only_folder_are_read(shots, cache, monkeypatch):
    del shots[0]  # has an undecodable frame, which is decoded again
    list(SequenceLoader(shots[:2], SETTINGS, 6, cache=cache).epoch(0))

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    warnings = []
    expected = list(SequenceLoader(shots, SETTINGS, 6).epoch(1))
    monkeypatch.setattr(cache_module.os, "utime", refuse)
    monkeypatch.setattr(cache_module, "write_entry", refuse)
    loader = SequenceLoader(shots, SETTINGS, 6, cache=cache, warn=warnings.append)
    assert_same(expected, loader.epoch(1))
    assert len(warnings) == 1
    assert "Read-only file system" in warnings[0]
    no_decoding(monkeypatch)
    list(SequenceLoader(shots[:2], SETTINGS, 6, cache=cache, warn=warnings.append).epoch(2))


# ---- names of entries

FOLDER = ImageFrames(tuple(f"/data/dog/b/{n:04d}.jpg" for n in range(200)), "dog/b")
FILE = VideoFrames("/data/cat/a.mp4", "cat/a.mp4", 230, (64, 48))


@pytest.mark.parametrize(
    ("frames", "window", "name"),
    [
        (FOLDER, range(40, 160), "8ec0ab7d07c9892ec7f26f1985e9702b64d9d013"),
        (FILE, range(46, 184), "09f71902c88d5d8d749db1867bd3dd018313aef5"),
        (ShotFrames(FOLDER, 100, 200), range(20, 80), "9d7c8bb1eedfb459e710977dca0421a31e74aadd"),
        (ShotFrames(FILE, 100, 230), range(26, 104), "6608fa2b0f8e12c7e0f6a5dbd3cc9398e4846d91"),
    ],
    ids=["images", "video file", "shot of images", "shot of a video file"],
)
def test_entries_are_found_by_the_same_name(cache, monkeypatch, frames, window, name):
    monkeypatch.setattr(probe_cache, "_file_state", lambda path: (path, 1234, 5678))
    monkeypatch.setattr(cv2, "__version__", "4.10.0")
    monkeypatch.setattr(av, "__version__", "18.1.0")
    monkeypatch.setattr(torch, "__version__", "2.11.0")
    no_decoding(monkeypatch)
    stored = [np.full((8, 8, 3), index, np.uint8) for index in window]
    cache.folder.mkdir()
    with (cache.folder / f"{name}.frames").open("wb") as file:
        write_entry(file, stored, len(window), 8)
    found = cache.read(frames, [window[3], window[-1]], window, 8)
    assert [frame[0, 0, 0] for frame in found] == [window[3], window[-1]]


@pytest.mark.parametrize(("frames", "library"), [(FOLDER, cv2), (FILE, av)])
def test_entries_of_another_version_of_the_decoder_are_not_used(monkeypatch, frames, library):
    monkeypatch.setattr(probe_cache, "_file_state", lambda path: (path, 1234, 5678))
    names = {cache_module._digest(frames, range(46, 184), 8)}
    monkeypatch.setattr(library, "__version__", "0.0")
    names.add(cache_module._digest(frames, range(46, 184), 8))
    assert len(names) == 2


def test_the_bytes_of_an_entry_do_not_change(tmp_path):
    frames = [np.arange(192, dtype=np.uint8).reshape(8, 8, 3), None, np.zeros((8, 8, 3), np.uint8)]
    with (tmp_path / "entry").open("wb") as file:
        write_entry(file, frames, 3, 8)
    digest = hashlib.sha256((tmp_path / "entry").read_bytes()).hexdigest()
    assert digest == "47a7f6e1feca2ce869d839ddbc16a4fabcdd5ea69ae187d81593ff6525207d1f"
