"""Shot detection, shots as frame sources, and long videos that are cut into shots for training."""

import pickle
from dataclasses import replace
from itertools import islice, permutations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.cli.options import parse_config
from colocam.cli.prepare import main as prepare
from colocam.data.decoding.open import open_video
from colocam.data.decoding.seeking import SEEK_POINT_INTERVAL
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.layouts.open import open_data
from colocam.data.loading.cache import FrameCache, read_resized
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.prepare import export_frames
from colocam.data.shots.detection import find_shots, is_cut, signature
from colocam.data.shots.shots import ShotFrames, cut_into_shots
from colocam.runtime.distribution import ALONE
from colocam.training.run import open_run

LENGTHS = (130, 90, 110)  # frames of the scenes of a long video


def picture(scene, number):
    """Moving waves between two colours of the scene."""
    down, across = np.indices((48, 64))
    wave = np.sin((down * (scene % 3) + across + number) / 9)[..., None] / 2 + 0.5
    colours = np.random.default_rng(scene).integers(0, 256, (2, 3))
    return (wave * colours[0] + (1 - wave) * colours[1]).astype(np.uint8)


def scenes(lengths=LENGTHS):
    return [picture(scene, number) for scene, many in enumerate(lengths) for number in range(many)]


def ranges(lengths):
    ends = np.cumsum(lengths).tolist()
    return [range(end - many, end) for end, many in zip(ends, lengths, strict=True)]


def write_video(path, pictures):
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, 25, pictures[0].shape[1::-1])
    for image in pictures:
        writer.write(image[..., ::-1])
    writer.release()
    return path


def write_folder(path, pictures):
    path.mkdir(parents=True)
    for number, image in enumerate(pictures):
        cv2.imencode(".jpg", image[..., ::-1])[1].tofile(path / f"{number:04d}.jpg")
    return path


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    return open_video(write_video(tmp_path_factory.mktemp("v") / "a.mp4", scenes()), "cat/a.mp4")


@pytest.fixture(scope="module")
def clips(shared):
    """Up to 80 frames of each real clip, at half their size."""
    return [
        [frame[::2, ::2] for frame in islice(open_video(path, path.name), 80)]
        for path in sorted((shared / "clips").glob("*/*"))
    ]


# ---- detection


def test_no_cut_is_found_in_real_clips(clips):
    assert [find_shots(clip) for clip in clips] == [[range(len(clip))] for clip in clips]


def test_cuts_between_real_clips_are_found(clips):
    for one, other in permutations(clips, 2):
        assert find_shots(one[-30:] + other[:30]) == [range(30), range(30, 60)]


def test_cuts_are_found_and_shots_cover_all_frames():
    assert find_shots(scenes()) == ranges(LENGTHS)
    assert find_shots(scenes()[:100]) == [range(100)]
    assert find_shots([]) == []


def test_a_flash_is_not_a_cut():
    for many in (1, 4):
        flashing = scenes((100,))
        flashing[50 : 50 + many] = [np.full_like(flashing[0], 255)] * many
        assert find_shots(flashing) == [range(100)]


def test_a_gradual_change_of_light_is_not_a_cut():
    for image in (picture(0, 0), np.full((48, 64, 3), 255, np.uint8)):
        fading = [(image * (1 - step / 120)).astype(np.uint8) for step in range(60)]
        assert find_shots(fading + fading[::-1]) == [range(120)]


def test_cuts_are_found_in_dark_noisy_frames():
    rng = np.random.default_rng(0)
    dark = [image * 0.15 + rng.normal(0, 12, image.shape) for image in scenes()]
    assert find_shots(image.clip(0, 255).astype(np.uint8) for image in dark) == ranges(LENGTHS)


def test_short_shots_are_merged_with_the_next_one_or_at_the_end_with_the_previous_one():
    pictures = scenes((40, 10, 40, 10))
    assert find_shots(pictures) == [range(40), range(40, 100)]
    assert find_shots(pictures, min_length=8) == ranges((40, 10, 40, 10))


def test_undecodable_frames_neither_make_nor_hide_a_cut():
    pictures = scenes((60, 60))
    for gap in ((20, 22), (55, 65), (0, 5), (115, 120)):
        torn = [None if gap[0] <= i < gap[1] else image for i, image in enumerate(pictures)]
        start = 65 if gap[0] == 55 else 60
        assert find_shots(torn) == [range(start), range(start, 120)]
    assert find_shots([None] * 7) == [range(7)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12)), max_size=12), st.integers(1, 9)
)  # fmt: skip
def test_shots_have_the_minimum_length_and_cover_every_frame_once(parts, min_length):
    pictures = [
        None if scene == 4 else picture(scene, 0) for scene, many in parts for _ in range(many)
    ]
    shots = find_shots(pictures, min_length=min_length)
    assert [index for shot in shots for index in shot] == list(range(len(pictures)))
    assert len(shots) <= 1 or min(map(len, shots)) >= min_length


def test_a_signature_hardly_depends_on_the_frame_size():
    small = cv2.GaussianBlur(picture(1, 0), (0, 0), 2)
    large = cv2.resize(small, (1280, 960), interpolation=cv2.INTER_LINEAR)
    assert signature(small).shape == signature(large).shape == (216,)
    assert not is_cut(signature(small), signature(large))
    tiny, other = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert is_cut(signature(tiny), signature(other))
    assert is_cut(signature(other), signature(tiny))


# ---- seeking in a long file


def grabs(monkeypatch):
    """Counts the frames that are grabbed after this call."""
    count = [0]

    class Counted:
        def __init__(self, *args):
            self.inner = capture(*args)

        def grab(self):
            count[0] += 1
            return self.inner.grab()

        def __getattr__(self, name):
            return getattr(self.inner, name)

    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Counted)
    return count


def test_seeking_reads_the_frames_of_a_pass_without_decoding_all(long_video, monkeypatch):
    every = list(long_video)
    assert [point.index for point in long_video.seek_points] == [100, 200, 300]
    count = grabs(monkeypatch)
    for start in (99, 100, 101, 260, 322):
        found = long_video.read(range(start, start + 6))
        assert all(map(np.array_equal, found, every[start : start + 6]))
    long_video.read([321])
    count[0] = 0
    assert np.array_equal(long_video.read([321])[0], every[321])
    assert count[0] <= SEEK_POINT_INTERVAL


@pytest.mark.parametrize("wrong", [{"time": 4321.0}, {"checksum": 1}, {"time": 1e9}])
def test_a_file_is_decoded_from_its_start_if_a_seek_point_is_not_found(long_video, wrong):
    seek_points = tuple(replace(point, **wrong) for point in long_video.seek_points)
    moved = replace(long_video, seek_points=seek_points)
    for found, expected in zip(moved.read([315, 250]), long_video.read([315, 250]), strict=True):
        assert np.array_equal(found, expected)


# ---- shots as frame sources


@pytest.fixture(params=["file", "folder"])
def shot(request, long_video, tmp_path):
    """The second shot of a long video."""
    video = long_video
    if request.param == "folder":
        video = open_video(write_folder(tmp_path / "a", scenes()), "cat/a")
    shots = cut_into_shots(video, 100)
    assert [range(shot.start, shot.stop) for shot in shots] == ranges(LENGTHS)
    return shots[1]


def test_a_shot_reads_the_frames_of_its_part_of_the_video(shot):
    every = list(shot.video)[130:220]
    assert len(shot) == 90
    assert shot.name == f"{shot.video.name}#130-219"
    for found in (
        list(shot),
        shot.read(range(90)),
        pickle.loads(pickle.dumps(shot)).read(range(90)),
    ):
        assert all(map(np.array_equal, found, every))
    assert np.array_equal(shot.read([7, 3])[0], every[7])
    for bad in (-1, 90):
        with pytest.raises(IndexError, match=f"frame {bad} of 90"):
            shot.read([bad])


def test_seed_maps_of_a_shot_are_those_of_its_video(shot, tmp_path):
    maps = SeedMaps(tmp_path / "maps")
    for index in (0, 89):
        assert maps.path(shot, index) == maps.path(shot.video, 130 + index)
    values = np.eye(3, dtype=np.float16)
    maps.write(shot.video, 140, values)
    assert np.array_equal(maps.read(shot, 10), values)


def test_a_cache_entry_of_a_shot_contains_only_its_frames(shot, tmp_path, monkeypatch):
    cache = FrameCache(tmp_path / "cache", 10**8)
    expected = read_resized(shot, [20, 50], 32)
    count = grabs(monkeypatch)
    assert all(map(np.array_equal, cache.read(shot, [20, 50], range(18, 72), 32), expected))
    assert count[0] <= 130 - 100 + 72 + 20
    assert len(list((tmp_path / "cache").iterdir())) == 1
    decoded = count[0]
    for again in (cache, FrameCache(tmp_path / "cache", 10**8)):
        assert all(map(np.array_equal, again.read(shot, [20, 50], range(18, 72), 32), expected))
    assert count[0] == decoded
    other = ShotFrames(shot.video, shot.start + 1, shot.stop)
    cache.read(other, [20], range(18, 72), 32)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_short_videos_are_not_cut(long_video):
    assert cut_into_shots(long_video, sum(LENGTHS)) == [long_video]
    assert len(cut_into_shots(long_video, sum(LENGTHS) - 1)) == 3


# ---- a data set


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """Data folder of two classes: a long file, a long folder of images, a file without a cut."""
    data = tmp_path_factory.mktemp("data")
    write_video(data / "cat" / "long one.avi", scenes())
    write_folder(data / "dog" / "long", scenes((70, 60)))
    write_video(data / "dog" / "still.mp4", scenes((140,)))
    (data / "boxes.csv").write_text(
        "video,frame,x0,y0,x1,y1\ncat/long one.avi,329,1,2,30,40\ndog/long,3,1,2,30,40\n"
    )
    return data


def test_long_training_videos_are_cut_and_boxes_belong_to_the_whole_video(data_folder):
    whole, cut = open_data(data_folder), open_data(data_folder, cut_over=100)
    assert [shot.id for shot in whole.train] == ["cat/long one.avi", "dog/long", "dog/still.mp4"]
    assert [(shot.id, shot.label, shot.video, len(shot.frames)) for shot in cut.train] == [
        ("cat/long one.avi#0-129", 0, "cat/long one.avi", 130),
        ("cat/long one.avi#130-219", 0, "cat/long one.avi", 90),
        ("cat/long one.avi#220-329", 0, "cat/long one.avi", 110),
        ("dog/long#0-69", 1, "dog/long", 70),
        ("dog/long#70-129", 1, "dog/long", 60),
        ("dog/still.mp4", 1, "dog/still.mp4", 140),
    ]
    assert all(shot.frames.name == shot.id for shot in cut.train)
    assert (cut.val, cut.test) == (whole.val, whole.test)
    assert [frame.index for frame in cut.test] == [329, 3]
    assert cut.notes == (
        *whole.notes,
        "2 training videos of more than 100 frames cut into 5 shots",
    )
    assert open_data(data_folder, cut_over=100) == cut
    assert open_data(data_folder, cut_over=330).train == whole.train


def test_held_out_videos_are_not_cut(tmp_path):
    for name in range(3):
        write_video(tmp_path / "cat" / f"{name}.avi", scenes((40, 40)))
    data = open_data(tmp_path, cut_over=50)
    assert len(data.train) == 2
    assert len({shot.video for shot in data.train}) == 1
    for frame in data.val + data.test:
        assert isinstance(frame.frames, VideoFrames)
        assert len(frame.frames) == 80


def test_seed_maps_of_a_video_are_found_whether_it_is_cut_or_not(data_folder, tmp_path):
    maps = SeedMaps(tmp_path / "maps")
    for shot in open_data(data_folder).train:
        for index in range(len(shot.frames)):
            path = maps.path(shot.frames, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    missing = [
        shot.id
        for shot in open_data(data_folder, cut_over=100).train
        for index in range(len(shot.frames))
        if not maps.path(shot.frames, index).is_file()
    ]
    assert not missing


def test_frames_are_exported_per_video(data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export_frames, "QUALITY", 50)
    assert prepare(["splits", str(data_folder), "--frames", str(tmp_path / "new")]) == 0
    exported = open_data(tmp_path / "new")
    assert {shot.id: len(shot.frames) for shot in exported.train} == {
        "cat/long one.avi": 330,
        "dog/long": 130,
        "dog/still.mp4": 140,
    }


def test_training_cuts_long_videos_unless_disabled(data_folder, tmp_path, capsys):
    argv = ["--data", str(data_folder), "--out", str(tmp_path / "out"), "--device", "cpu"]
    for flags, shots in (
        ([], 3),
        (["--cut-over", "100"], 6),
        (["--cut-over", "100", "--cut-shots", "off"], 3),
    ):
        run = open_run(parse_config([*argv, *flags], cuda=False), ALONE)
        assert len(run.data.train) == shots
        assert ("cut into 5 shots" in capsys.readouterr().out) == (shots == 6)
