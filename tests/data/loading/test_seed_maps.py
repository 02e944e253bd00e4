"""Stored maps: where they lie, what is read and written, and what is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from colocam.data.decoding.video_file import ImageFrames, VideoFrames
from colocam.data.layouts.builtin import write_clip_set
from colocam.data.layouts.builtin_settings import ClipSet
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import SplitRecord, write_class_ids, write_split
from colocam.data.loading import seed_maps
from colocam.data.loading.sampling import frame_window
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.records import Shot
from colocam.runtime.errors import UserError

CLIPS = ClipSet(
    width=40, height=30, videos=(2, 1, 1), shots=(1, 1), frames=(5, 6), long_frames=(6, 7), boxed=2
)


@pytest.fixture
def maps(tmp_path):
    return SeedMaps(tmp_path / "maps")


def source(num_frames=10, name="cat/a"):
    paths = tuple(f"/data/{name}/{number:04d}.jpg" for number in range(num_frames))
    return ImageFrames(paths, name)


def refused(call, *args):
    with pytest.raises(UserError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def put(maps, frames, index, array):
    """Stores an array as it is."""
    path = maps.path(frames, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


# ---- where a frame's map lies


def below(maps, frames, index):
    return maps.path(frames, index).relative_to(maps.folder).as_posix()


def test_the_map_of_an_image_has_the_name_that_numpy_makes_of_the_images(maps, tmp_path):
    frames = ImageFrames(("/data/cat/a/x.jpg", "/data/cat/a/x.png"), "cat/a")
    assert below(maps, frames, 0) == "cat/a/x.jpg.npy"
    assert below(maps, frames, 1) == "cat/a/x.png.npy"
    np.save(tmp_path / "x.jpg", np.zeros(2))
    assert (tmp_path / "x.jpg.npy").is_file()


def test_the_map_of_a_videos_frame_lies_in_a_folder_named_as_the_file(maps):
    video = VideoFrames("/data/dog/street.mp4", "dog/street.mp4", 99, (64, 48))
    assert below(maps, video, 12) == "dog/street.mp4/00000012.npy"


@pytest.mark.parametrize("given_as", ["absolute", "relative", "here"])
def test_a_frame_has_the_same_map_in_its_shot_and_alone_with_its_boxes(
    given_as, maps, tmp_path, monkeypatch
):
    monkeypatch.chdir(write_clip_set(tmp_path / "data", CLIPS).parent)
    folder = {"absolute": tmp_path / "data", "relative": "data", "here": "."}[given_as]
    if given_as == "here":
        monkeypatch.chdir("data")
    data = open_data(folder)
    for record in data.test[:3]:
        assert below(maps, record.frames, record.index) == f"{record.id}.npy"
        shot, _, image = record.id.rpartition("/")
        listed = sorted((tmp_path / "data" / shot).glob("*.jpg"))
        frames = ImageFrames(tuple(map(str, listed)), shot)
        index = [path.name for path in listed].index(image)
        assert maps.path(frames, index) == maps.path(record.frames, record.index)
    shot = data.train[0]
    assert below(maps, shot.frames, 1) == f"{shot.id}/frame0002.jpg.npy"


def test_the_layout_of_youtube_objects_v2_is_mirrored_alike(maps, tmp_path, make_frames):
    shot = "cat/video-0002/shot-000002"
    make_frames(tmp_path / "data" / shot, 3)
    (tmp_path / "data" / shot / "0001.jpg").rename(tmp_path / "data" / shot / "00002166.jpg")
    frame = SplitRecord(f"{shot}/00002166.jpg", 0, (64, 48), ((1, 2, 30, 40),))
    for split, records in (("train", [SplitRecord(shot, 0, None, ())]), ("val", [frame])):
        write_split(tmp_path / "splits" / split, records)
    write_split(tmp_path / "splits" / "test", [frame])
    write_class_ids(tmp_path / "splits" / "class_id.yaml", ["cat"])
    data = open_data(tmp_path / "data", tmp_path / "splits")
    expected = f"{shot}/00002166.jpg.npy"
    assert below(maps, data.test[0].frames, data.test[0].index) == expected
    assert expected in [below(maps, data.train[0].frames, index) for index in range(3)]


def test_plain_folders_name_their_frames_alike_in_training_and_evaluation(
    maps, tmp_path, make_video, make_frames
):
    make_frames(tmp_path / "data" / "Möwe, 1" / "court")
    make_video(tmp_path / "data" / "Möwe, 1" / "swan.mp4")
    data = open_data(tmp_path / "data")  # without boxes frames of both stand in for evaluation
    drawn = {below(maps, shot.frames, index) for shot in data.train for index in range(12)}
    assert {below(maps, record.frames, record.index) for record in data.test} <= drawn
    assert {"Möwe, 1/court/0003.jpg.npy", "Möwe, 1/swan.mp4/00000003.npy"} <= drawn
    assert len(drawn) == 24


@pytest.mark.parametrize("name", ["../a", "cat/../../a", "/etc/a", "cat/.."])
def test_a_name_that_leads_out_of_the_folder_is_refused(name, maps):
    video = VideoFrames("/x.mp4", name, 9, (64, 48))
    assert "leads out of the data folder" in refused(maps.path, video, 0)
    assert "leads out" in refused(maps.write, ImageFrames(("/x.jpg",), name), 0, np.zeros((2, 2)))


# ---- what is read and written


@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=2, max_dims=2, max_side=7),
        elements=st.floats(-100, 100, width=16),
    )
)
@settings(deadline=None, max_examples=40)
def test_what_is_written_is_read_stretched_from_0_to_1(tmp_path_factory, values):
    maps = SeedMaps(tmp_path_factory.mktemp("maps"))
    written = maps.write(source(), 3, values)
    assert np.load(written).dtype == np.float16
    np.testing.assert_array_equal(np.load(written), values)
    read = maps.read(source(), 3)
    assert read.dtype == np.float32
    assert read.shape == values.shape
    low, span = values.min(), float(values.max()) - float(values.min())
    if span > 1e-3:
        np.testing.assert_allclose(read, (values - low) / span, atol=1e-4)
    assert read.min() == 0
    assert read.max() in (0, 1)


def test_only_one_file_is_left_and_a_new_map_takes_the_place_of_the_old(maps):
    for values in (np.eye(4), np.fliplr(np.eye(4))):
        path = maps.write(source(), 0, values)
    assert [file.name for file in path.parent.iterdir()] == ["0000.jpg.npy"]
    np.testing.assert_array_equal(maps.read(source(), 0), np.fliplr(np.eye(4)))


def test_a_map_appears_whole_or_not_at_all(maps, monkeypatch):
    maps.write(source(), 0, np.eye(4))

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(seed_maps.os, "replace", fails)
    assert "No space left" in refused(maps.write, source(), 0, np.ones((9, 9)))
    assert len(list((maps.folder / "cat" / "a").iterdir())) == 1
    np.testing.assert_array_equal(maps.read(source(), 0), np.eye(4))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 51, 102]], np.uint8), [[0, 0.2, 0.4]]),  # not stretched
        (np.array([[7, 7]], np.uint8), [[7 / 255, 7 / 255]]),
        (np.array([[-3, 1, 5]], np.float16), [[0, 0.5, 1]]),
        (np.array([[-3, 1, 5]], ">f4"), [[0, 0.5, 1]]),
        (np.array([[-3e38, 0, 3e38]], np.float32), [[0, 0.5, 1]]),
        (np.array([[0, 1e-30]], np.float32), [[0, 1]]),
        (np.array([[0.7]], np.float32), [[0]]),
        (np.full((2, 2), -5, np.float16), [[0, 0], [0, 0]]),
        (np.array([[0.3, np.nextafter(np.float32(0.3), np.float32(1))]], np.float32), [[0, 0]]),
    ],
)
def test_bytes_are_divided_by_255_and_floats_stretched_to_0_and_1(array, expected, maps):
    put(maps, source(), 0, array)
    np.testing.assert_allclose(maps.read(source(), 0), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "values", [np.zeros(4), np.zeros((2, 2, 1)), np.zeros((0, 3)), [[1, np.nan]], [[1e6, 0]]]
)
def test_what_cannot_be_stored_is_not_written(values, maps):
    with pytest.raises(ValueError, match="values"):
        maps.write(source(), 0, values)
    assert not maps.folder.exists()


def test_a_folder_of_maps_travels_to_other_processes(maps):
    maps.write(source(), 0, np.eye(3))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(maps)).read(source(), 0), np.eye(3))


# ---- what is refused

BAD = [
    (np.zeros((2, 2, 2), np.float32), "shape"),
    (np.zeros(9, np.float32), "shape"),
    (np.float32(1), "shape"),
    (np.zeros((0, 9), np.float32), "shape"),
    (np.zeros((2, 2)), "float64"),
    (np.zeros((2, 2), np.int16), "int16"),
    (np.zeros((2, 2), bool), "bool"),
    (np.array([[0, np.nan]], np.float32), "NaN"),
    (np.array([[0, np.inf]], np.float16), "infinity"),
]


@pytest.mark.parametrize(("array", "why"), BAD)
def test_an_array_that_is_no_map_is_refused_with_its_file_and_the_reason(array, why, maps):
    path = put(maps, source(), 4, array)
    message = refused(maps.read, source(), 4)
    assert message.startswith(f"{path}: ")
    assert why in message


class Planted:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def test_pickled_objects_are_refused_and_never_run(maps, tmp_path):
    planted = np.array([[Planted(tmp_path / "trace")]], dtype=object)
    path = put(maps, source(), 0, planted)
    assert "not a whole .npy file" in refused(maps.read, source(), 0)
    path.write_bytes(pickle.dumps(Planted(tmp_path / "trace")))
    assert "not a whole .npy file" in refused(maps.read, source(), 0)
    assert not (tmp_path / "trace").exists()


def test_broken_files_are_refused(maps):
    path = maps.write(source(), 0, np.eye(9))
    whole = path.read_bytes()
    header = whole[:128].replace(b"'shape': (9, 9)", b"'shape': (9, 9")
    for broken in (b"", b"text", whole[:50], whole[:-1], header + whole[128:], b"PK\3\4" + whole):
        path.write_bytes(broken)
        assert "not a whole .npy file" in refused(maps.read, source(), 0)
    with path.open("wb") as file:
        np.savez(file, a=np.eye(9, dtype=np.float32))
    assert "not a whole .npy file" in refused(maps.read, source(), 0)
    path.unlink()
    assert refused(maps.read, source(), 0) == f"{path}: no such seed map"
    path.mkdir()
    assert "cannot be read" in refused(maps.read, source(), 0)


# ---- the check before training


class Readable:
    """A video of black frames, but for some that cannot be decoded."""

    def __init__(self, name, num_frames, bad=()):
        self.name, self.num_frames, self.bad = name, num_frames, bad

    def __len__(self):
        return self.num_frames

    def read(self, indices):
        return [None if i in self.bad else np.zeros((4, 4, 3), np.uint8) for i in indices]


def shots_of(*lengths, bad=()):
    return [
        Shot(f"cat/{k}.mp4", 0, f"cat/{k}.mp4", Readable(f"cat/{k}.mp4", length, bad))
        for k, length in enumerate(lengths)
    ]


def write_drawable(maps, shots, limit=0.6):
    for shot in shots:
        for index in frame_window(len(shot.frames), limit):
            maps.write(shot.frames, index, np.eye(3))


def test_maps_of_all_frames_that_can_be_drawn_are_enough(maps):
    shots = shots_of(10, 1, 30)
    write_drawable(maps, shots)
    maps.check(shots, 0.6)
    assert "no map for 2 of 8 frames" in refused(maps.check, shots[:1], 0.8)


def test_missing_maps_are_counted_and_the_first_is_named(maps):
    shots = shots_of(10, 20)  # frames 2 … 7 and 4 … 15 can be drawn
    write_drawable(maps, shots)
    gone = [(0, 5), (1, 9), (1, 4)]
    for shot, index in gone:
        maps.path(shots[shot].frames, index).unlink()
    assert refused(maps.check, shots, 0.6) == (
        f"{maps.folder}: no map for 3 of 18 frames that can be drawn; the first missing file is "
        f"{maps.folder / 'cat/0.mp4/00000005.npy'}"
    )


def test_a_frame_that_cannot_be_decoded_needs_no_map(maps):
    shots = shots_of(300, bad=range(100, 180))
    write_drawable(maps, shots)
    for index in range(100, 180):
        maps.path(shots[0].frames, index).unlink()
    maps.check(shots, 0.6)
    maps.path(shots[0].frames, 99).unlink()
    maps.path(shots[0].frames, 200).unlink()
    assert "no map for 2 of 180 frames" in refused(maps.check, shots, 0.6)


def test_a_folder_of_other_maps_is_refused_without_decoding_all_frames(maps):
    shots = shots_of(5000, bad=range(5000))
    maps.folder.mkdir()
    assert "no map for 3000 of 3000 frames" in refused(maps.check, shots, 0.6)


def test_a_folder_that_is_none_is_refused(maps):
    assert refused(maps.check, shots_of(3), 0.6) == f"{maps.folder}: no such folder of seed maps"
    maps.folder.write_bytes(b"")
    assert "no such folder" in refused(maps.check, shots_of(3), 0.6)


@pytest.mark.parametrize(("array", "why"), BAD)
def test_the_check_finds_any_map_that_cannot_be_used(array, why, maps):
    shots = shots_of(40, 20)
    write_drawable(maps, shots)
    path = put(maps, shots[1].frames, 6, array)
    message = refused(maps.check, shots, 0.6)
    assert message.startswith(f"{path}: ")
    assert why in message


def test_of_very_many_maps_some_are_read_the_last_among_them(maps, monkeypatch):
    shots = shots_of(40, 20)
    write_drawable(maps, shots)
    monkeypatch.setattr(seed_maps, "_READ_AT_CHECK", 5)
    read, reads = SeedMaps.read, []
    monkeypatch.setattr(
        SeedMaps, "read", lambda *args: reads.append((args[1].name, args[2])) or read(*args)
    )
    maps.check(shots, 0.6)
    assert reads[0] == ("cat/0.mp4", 8)
    assert reads[-1] == ("cat/1.mp4", 15)
    assert len(set(reads)) == 5
