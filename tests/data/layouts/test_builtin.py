"""Built-in clip set: contents of the frames, switching effects off, writing to disk."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from colocam.data.layouts import builtin
from colocam.data.layouts.builtin import CLASSES, EVERY_FRAME, SIZES, write_clip_set
from colocam.data.layouts.builtin_drawing import draw_background, draw_shot, draw_video
from colocam.data.layouts.builtin_settings import ClipSet, Effects
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import read_split
from colocam.data.loading.sampling import frame_window
from colocam.runtime.errors import UserError

ALL_OFF = Effects(**{effect.name: False for effect in fields(Effects)})
SMALL = ClipSet(width=72, height=54, frames=(6, 8), long_frames=(10, 12))
TINY = replace(SMALL, videos=(1, 1, 1), shots=(1, 2), boxed=2)


def only(*names, **settings):
    """A clip set of small frames with these effects on and all others off."""
    return replace(SMALL, effects=replace(ALL_OFF, **dict.fromkeys(names, True)), **settings)


def shot(clip_set, seed=0, label=0):
    """(video, frames (T, H, W, 3), boxes) of one shot."""
    rng = np.random.default_rng(seed)
    video = draw_video(clip_set, label, rng)
    frames, boxes = draw_shot(clip_set, video, rng)
    return video, np.stack(frames), boxes


def sprite(clip_set, seed=0, label=0):
    return draw_video(clip_set, label, np.random.default_rng(seed)).sprite


def files(folder, pattern="*"):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob(pattern)
        if file.is_file()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_clip_set(tmp_path_factory.mktemp("sets") / "tiny", TINY)


# ---- files of a written set


def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_frames(tiny, tmp_path):
    again = files(write_clip_set(tmp_path / "again", TINY))
    assert again == files(tiny)
    other = files(write_clip_set(tmp_path / "other", replace(TINY, seed=1)), "*.jpg")
    assert not set(other.values()) & set(again.values())


def test_open_data_reads_the_written_set(tiny):
    data = open_data(tiny)
    assert data.classes == CLASSES
    assert data.notes == ()
    assert {shot.label for shot in data.train} == set(range(len(CLASSES)))
    for shot_ in data.train:
        name = CLASSES[shot_.label]
        assert shot_.id.startswith(f"{name}/data/0000/shots/")
        folder = tiny / shot_.id
        assert len(shot_.frames) == len(list(folder.glob("frame*.jpg")))
        assert shot_.frames.read([0])[0].shape == (TINY.height, TINY.width, 3)
    for frames in (data.val, data.test):
        shots = {frame.id.rsplit("/", 1)[0] for frame in frames}
        assert len(frames) == TINY.boxed * len(shots)
        for frame in frames:
            ((x0, y0, x1, y1),) = frame.boxes
            assert 0 <= x0 < x1 <= TINY.width - 1
            assert 0 <= y0 < y1 <= TINY.height - 1


def test_every_frame_of_held_out_videos_is_listed_and_empty_frames_have_no_box(tmp_path):
    effects = replace(ALL_OFF, empty_frames=True, object_motion=True)
    clip_set = replace(TINY, videos=(1, 3, 3), effects=effects)
    folder = write_clip_set(tmp_path / "set", clip_set)
    empty = 0
    for split in ("val", "test"):
        records = read_split(folder / EVERY_FRAME / split)
        boxed = {record.id: record for record in read_split(folder / "splits" / split)}
        videos = {"/".join(name.split("/")[:3]) for name in boxed}
        on_disk = {
            str(file.relative_to(folder))
            for video in videos
            for file in (folder / video).rglob("*.jpg")
        }
        assert {record.id for record in records} == on_disk
        for record in records:
            spread = np.ptp(cv2.imread(str(folder / record.id)).astype(int), axis=(0, 1)).max()
            assert (spread > 20) == bool(record.boxes)  # the background is flat
            empty += not record.boxes
            if record.id in boxed:
                assert boxed[record.id] == record
    assert empty > 0


def test_layout_matches_youtube_objects_v1(tiny):
    for name in CLASSES:
        assert (tiny / name / "sets" / "train.txt").read_text().split() == ["0000", "0001"]
        assert (tiny / name / "sets" / "test.txt").read_text().split() == ["0002"]
        assert (tiny / name / "data" / "0000" / "shots" / "001" / "frame0001.jpg").is_file()


def test_train_val_and_test_share_no_video(tiny):
    videos = {
        split: {
            "/".join(record.id.split("/")[:3]) for record in read_split(tiny / "splits" / split)
        }
        for split in ("train", "val", "test")
    }
    assert all(len(of_split) == len(CLASSES) for of_split in videos.values())
    assert len(set.union(*videos.values())) == 3 * len(CLASSES)


def test_boxes_on_disk_bound_the_pixels_that_differ_from_the_background(tmp_path):
    clip_set = replace(TINY, effects=replace(ALL_OFF, object_motion=True, scale_change=True))
    data = open_data(write_clip_set(tmp_path / "set", clip_set))
    assert len(data.test) >= 8
    for record in data.test:
        frame = record.frames.read([record.index])[0].astype(int)
        x0, y0, x1, y1 = (int(side) for side in record.boxes[0])
        outside = np.ones(frame.shape[:2], bool)
        outside[max(0, y0 - 3) : y1 + 4, max(0, x0 - 3) : x1 + 4] = False
        ground = np.median(frame[outside], axis=0)
        different = np.abs(frame - ground).max(2) > 20
        assert not different[outside].any()
        inside = different[y0 : y1 + 1, x0 : x1 + 1]
        for edge in (inside[:2], inside[-2:], inside[:, :2], inside[:, -2:]):
            assert edge.any()


def test_boxes_bound_the_pixels_that_the_body_covers_by_half():
    clip_set = only("video_colors", "object_motion", "scale_change", "camera_motion")
    for seed in range(6):
        video, frames, boxes = shot(clip_set, seed)
        height, width = video.sprite.shape[:2]
        body = 255 * video.sprite[height // 2, width // 2, :3]
        away = body - video.background[0]
        for frame, box in zip(frames, boxes, strict=True):
            # Share of the body in each pixel, from the mix of body and background colour.
            share = (frame - video.background[0]) @ away / (away @ away)
            inner, outer = extent(share >= 0.55), extent(share >= 0.45)
            assert outer[0] <= box[0] <= inner[0]
            assert outer[1] <= box[1] <= inner[1]
            assert inner[2] <= box[2] <= outer[2]
            assert inner[3] <= box[3] <= outer[3]


def extent(mask):
    ys, xs = np.nonzero(mask)
    return xs.min(), ys.min(), xs.max(), ys.max()


# ---- properties that the method relies on


def test_some_shots_are_long_enough_for_eighteen_frames_within_the_frame_window():
    clip_set = ClipSet(width=24, height=18)
    lengths = np.array([len(shot(clip_set, seed)[1]) for seed in range(40)])
    long = lengths >= 30
    assert 2 <= long.sum() <= 20
    assert len(frame_window(int(lengths[long].min()))) >= 18
    assert (lengths[~long] >= clip_set.frames[0]).all()
    assert (lengths[~long] <= clip_set.frames[1]).all()


@pytest.mark.parametrize("size", ["default", "large"])
def test_corloc_resolution_is_one_per_cent_or_finer(size):
    clip_set = SIZES[size]
    frames_a_class = clip_set.videos[2] * clip_set.shots[0] * clip_set.boxed
    assert 100 / (len(CLASSES) * frames_a_class) <= 1
    assert len(CLASSES) * frames_a_class >= 100


def test_every_class_has_a_distinct_glyph():
    parts = [sprite(only("telling_part"), label=label) for label in range(len(CLASSES))]
    for i in range(len(parts)):
        for j in range(i):
            assert (np.abs(parts[i] - parts[j]).max(2) > 0.2).sum() > 200


def test_a_body_has_many_times_the_area_of_its_glyph():
    ratios = []
    for seed in range(60):
        with_part = sprite(replace(ClipSet(), effects=Effects()), seed)
        without = sprite(replace(ClipSet(), effects=Effects(telling_part=False)), seed)
        part = (np.abs(with_part - without).max(2) > 1e-6).sum()
        ratios.append(with_part[..., 3].sum() / part)
    assert np.median(ratios) >= 5
    assert min(ratios) >= 3.5


def test_the_glyph_is_near_one_end_of_the_body():
    with_part, without = sprite(only("telling_part")), sprite(only())
    xs = np.nonzero(np.abs(with_part - without).max(2) > 1e-6)[1]
    body = np.nonzero(without[..., 3])[1]
    assert xs.mean() < body.mean() - 0.1 * np.ptp(body)


def test_body_colors_differ_between_videos_and_are_constant_within_one():
    clip_set = only("material", "video_colors", "telling_part", "object_motion", "scale_change")
    means = []
    for seed in range(8):
        video, frames, _ = shot(clip_set, seed)
        bodies = np.abs(frames - video.background[0]).max(3) > 40
        means.append([frame[body].mean(0) for frame, body in zip(frames, bodies, strict=True)])
    within = [np.std(of_video, axis=0).max() for of_video in means]
    between = np.std([np.mean(of_video, axis=0) for of_video in means], axis=0)
    assert max(within) < 10
    assert between.min() > 2 * max(within)


# ---- effects switched off


def test_telling_part_off_makes_all_classes_look_alike():
    on = [sprite(only("material", "telling_part"), label=label) for label in (0, 1)]
    off = [sprite(only("material"), label=label) for label in (0, 1)]
    assert not np.array_equal(*on)
    assert np.array_equal(*off)


def test_material_off_makes_bodies_flat():
    def colors(image):
        return image[image[..., 3] == 1][:, :3]

    assert np.ptp(colors(sprite(only())), axis=0).max() < 1e-6
    assert colors(sprite(only("material"))).std(0).min() > 0.03


def test_video_colors_off_gives_all_videos_the_same_body_colors():
    def middle(image):
        return image[image.shape[0] // 2, image.shape[1] // 2, :3]

    assert np.array_equal(middle(sprite(only(), seed=0)), middle(sprite(only(), seed=1)))
    on = [middle(sprite(only("video_colors"), seed=seed)) for seed in (0, 1)]
    assert np.abs(on[0] - on[1]).max() > 0.1


@pytest.mark.parametrize("effect", ["texture", "distractors"])
def test_texture_and_distractors_off_make_the_background_flat(effect):
    def background(clip_set):
        rng = np.random.default_rng(3)
        return draw_background(clip_set, draw_video(clip_set, 0, rng), rng)

    assert np.ptp(background(only()), axis=(0, 1)).max() == 0
    assert np.ptp(background(only(effect)), axis=(0, 1)).max() > 0.05


def test_distractors_cover_less_than_the_whole_background():
    clip_set = only("distractors")
    rng = np.random.default_rng(3)
    video = draw_video(clip_set, 0, rng)
    background = draw_background(clip_set, video, rng)
    same = np.abs(255 * background - video.background[0]).max(2) < 1
    assert 0.3 < same.mean() < 0.99


def test_camera_motion_off_keeps_the_background_static():
    still, moving = shot(only("texture"))[1], shot(only("texture", "camera_motion"))[1]
    assert (still == still[0]).all()
    assert all((frame != moving[0]).mean() > 0.1 for frame in moving[1:])


def test_object_motion_off_keeps_the_object_position():
    def middles(clip_set, seed):
        boxes = np.array(shot(clip_set, seed)[2])
        inside = (boxes[:, :2] > 0).all() and (boxes[:, 2:] < (71, 53)).all()
        return (boxes[:, :2] + boxes[:, 2:]) / 2 if inside else None

    short = {"length": (0.2, 0.25)}
    still = [middles(only("scale_change", **short), seed) for seed in range(5)]
    moving = [middles(only("scale_change", "object_motion", **short), seed) for seed in range(5)]
    assert max(np.ptp(path, axis=0).max() for path in still if path is not None) <= 1
    assert min(np.ptp(path, axis=0).max() for path in moving if path is not None) > 3


def test_objects_move_far_between_frames():
    boxes = [np.array(shot(only("object_motion", length=(0.2, 0.25)), s)[2]) for s in range(8)]
    steps = [
        np.linalg.norm(np.diff((of_shot[:, :2] + of_shot[:, 2:]) / 2, axis=0), axis=1).max()
        for of_shot in boxes
    ]
    assert max(steps) > 0.05 * SMALL.height


def test_scale_change_off_keeps_the_objects_size():
    def sizes(clip_set, seed):
        boxes = np.array(shot(clip_set, seed)[2])
        return boxes[:, 2:] - boxes[:, :2]

    for seed in range(4):
        assert np.ptp(sizes(only(), seed), axis=0).max() == 0
        changing = sizes(only("scale_change"), seed)
        assert (changing.max(0) / changing.min(0)).max() > 1.05


def test_brightness_drift_off_keeps_the_brightness():
    for seed in range(4):
        still = shot(only(), seed)[1].mean((1, 2, 3))
        drifting = shot(only("brightness_drift"), seed)[1].mean((1, 2, 3))
        assert np.ptp(still) == 0
        assert np.ptp(drifting) / drifting.mean() > 0.02


def test_jpeg_off_writes_frames_nearly_unchanged(tmp_path, monkeypatch):
    _, frames, boxes = shot(only("texture", "material"))
    monkeypatch.setattr(builtin, "draw_shot", lambda *_: (list(frames), list(boxes)))
    errors = {}
    for jpeg in (False, True):
        clip_set = replace(TINY, effects=replace(ALL_OFF, jpeg=jpeg))
        data = open_data(write_clip_set(tmp_path / f"jpeg {jpeg}", clip_set))
        read = np.stack(data.train[0].frames.read(range(len(frames))))
        errors[jpeg] = np.abs(read.astype(int) - frames).mean()
    assert errors[False] < 2
    assert errors[True] > 2 * errors[False]


def test_empty_frames_off_puts_a_box_on_every_frame():
    empty = {
        on: np.array(
            [
                np.mean([box is None for box in shot(only(*["empty_frames"] * on), seed)[2]])
                for seed in range(30)
            ]
        )
        for on in (False, True)
    }
    assert (empty[False] == 0).all()
    assert 0.05 < (empty[True] > 0).mean() < 0.6  # some shots, not all
    assert empty[True].max() < 0.5


def test_an_empty_frame_shows_only_the_background():
    clip_set = only("empty_frames")
    shots = [shot(clip_set, seed) for seed in range(30)]
    checked = 0
    for video, frames, boxes in shots:
        for frame, box in zip(frames, boxes, strict=True):
            flat = np.ptp(frame, axis=(0, 1)).max() == 0
            assert flat == (box is None)
            if box is None:
                assert np.abs(frame[0, 0] - video.background[0]).max() <= 1
                checked += 1
    assert checked > 0


# ---- writing


def test_a_folder_of_other_content_is_not_deleted(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match="photos: exists and is not a built-in clip set"):
        write_clip_set(folder, TINY)
    assert files(tmp_path) == {"photos/holiday.jpg": b"precious"}


def test_a_file_at_the_path_is_not_deleted(tmp_path):
    (tmp_path / "clips").write_text("notes")
    with pytest.raises(UserError, match="clips"):
        write_clip_set(tmp_path / "clips", TINY)
    with pytest.raises(UserError, match="clips"):
        write_clip_set(tmp_path / "clips" / "below", TINY)
    assert (tmp_path / "clips").read_text() == "notes"


def test_a_clip_set_of_other_settings_is_replaced(tmp_path):
    folder = write_clip_set(tmp_path / "set", replace(TINY, videos=(2, 1, 1)))
    assert write_clip_set(folder, TINY) == folder
    assert files(folder) == files(write_clip_set(tmp_path / "fresh", TINY))


def test_an_existing_clip_set_is_not_written_again(tiny, monkeypatch):
    monkeypatch.setattr(builtin, "_write_all", lambda *_: pytest.fail("written again"))
    assert write_clip_set(tiny, TINY) == tiny


@pytest.mark.parametrize("exists", [False, True])
def test_an_interrupted_write_changes_nothing(tmp_path, monkeypatch, exists):
    if exists:
        write_clip_set(tmp_path / "set", TINY)
    before = files(tmp_path)
    encode, calls = cv2.imencode, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(builtin.cv2, "imencode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_clip_set(tmp_path / "set", replace(TINY, seed=5))
    assert files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"] * exists
