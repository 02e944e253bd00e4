"""Command colocam.seed_maps and evaluate.py --maps: stored maps of teachers, resuming, errors."""

import json
import os

import numpy as np
import pytest
import torch

from colocam.cli.evaluate import main as evaluate
from colocam.cli.seed_maps import main as seed_maps
from colocam.data.layouts.open import open_data
from colocam.data.loading.seed_maps import SeedMaps
from colocam.evaluation.predictions import write_records

HEAD = "video,frame,x0,y0,x1,y1\n"


@pytest.fixture
def data(tmp_path, write_video):
    """Four videos of cats and three folders of dogs, with a box in every frame."""
    lines = []
    for name in ("cat/0.mp4", "cat/1.mp4", "cat/2.mp4", "cat/3.mp4", "dog/0", "dog/1", "dog/2"):
        write_video(tmp_path / "data" / name, 4)
        lines += [f"{name},{i},{4 + 2 * i},8,{19 + 2 * i},23\n" for i in range(4)]
    (tmp_path / "data" / "boxes.csv").write_text(HEAD + "".join(lines))
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path, data, capsys):
    """Runs the command with the data and an output folder; what it printed."""

    def call(*argv, status=0):
        given = ["--data", data, "--out", tmp_path / "maps", *argv]  # the last --out counts
        assert seed_maps([str(part) for part in given]) == status
        return capsys.readouterr()

    return call


@pytest.fixture
def refused(run):
    """The one-line error of the command."""

    def line(*argv):
        error = run(*argv, status=2).err
        assert error.count("\n") == 1, error
        assert error.startswith("error: ")
        return error[len("error: ") : -1]

    return line


def stored(tmp_path):
    return sorted(path for path in (tmp_path / "maps").rglob("*.npy"))


def of_boxes(data):
    return "--teacher", f"boxes:{data / 'boxes.csv'}"


def test_every_frame_that_training_may_draw_gets_a_map(run, data, tmp_path):
    printed = run(*of_boxes(data)).out
    shots = open_data(data).train
    SeedMaps(tmp_path / "maps").check(shots, frame_limit=1.0)
    assert len(stored(tmp_path)) == sum(len(shot.frames) for shot in shots)
    assert f"{tmp_path / 'maps'}: {len(stored(tmp_path))} maps" in printed
    assert not list((tmp_path / "maps").rglob(".*"))


def test_existing_maps_are_kept_and_missing_ones_added(run, data, tmp_path):
    run(*of_boxes(data))
    first, second, *others = stored(tmp_path)
    first.unlink()
    times = [path.stat().st_mtime_ns for path in (second, *others)]
    assert f"1 maps, {1 + len(others)} kept" in run(*of_boxes(data)).out
    assert first.is_file()
    assert [path.stat().st_mtime_ns for path in (second, *others)] == times
    assert f"maps: {2 + len(others)} maps\n" in run(*of_boxes(data), "--overwrite").out


def test_maps_of_two_teachers_are_not_mixed(run, refused, data, tmp_path):
    run(*of_boxes(data), "--split", "train", "val", "test")
    every = stored(tmp_path)
    other = tmp_path / "other.csv"
    other.write_text((data / "boxes.csv").read_text().replace("cat/0.mp4,0,4,", "cat/0.mp4,0,5,"))
    message = refused("--teacher", f"boxes:{other}")
    assert "maps of another teacher (with another boxes); give another --out" in message
    assert stored(tmp_path) == every
    run("--teacher", f"boxes:{other}", "--overwrite")  # training frames alone: no map of the other
    assert set(stored(tmp_path)) < set(every)
    (tmp_path / "maps" / "teacher.json").unlink()
    assert "maps of another origin" in refused("--teacher", f"boxes:{other}")


def test_boxes_of_localize_teach(run, data, tmp_path):
    shots = open_data(data).train
    found = {(shot.video, i): i > 0 for shot in shots for i in range(len(shot.frames))}
    records = [
        {
            "video": str(data / video), "frame": index, "class": "cat", "probability": 0.5,
            "box": [8, 8, 30, 20] if has_box else None, "score": 0.7,
        }
        for (video, index), has_box in found.items()
    ]  # fmt: skip
    write_records(tmp_path / "boxes.json", records)
    printed = run("--teacher", "boxes", "--boxes", tmp_path / "boxes.json").out
    assert f"no box of their tag for {len(shots)} of {len(found)} frames" in printed
    for shot in shots:
        for index in range(len(shot.frames)):
            values = SeedMaps(tmp_path / "maps").read(shot.frames, index)
            assert bool(values.any()) == found[shot.video, index]


def test_clip_teaches(run, refused, data, tmp_path, monkeypatch):
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed (extra clip)")
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32,
        },
        "text_cfg": {"width": 16, "heads": 2, "layers": 1},
    }  # fmt: skip
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", config)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("small").state_dict(), tmp_path / "small.pt")
    (tmp_path / "names.csv").write_text("dog,puppy\ndog,hound\n")
    given = "--teacher", "clip:small", "--weights", tmp_path / "small.pt"
    run(*given, "--names", tmp_path / "names.csv", "--batch-size", "3")
    maps = [np.load(path) for path in stored(tmp_path)]
    assert {values.shape for values in maps} == {(4, 4)}
    assert all(values.min() >= 0 and values.max() <= 1 for values in maps)
    settings = json.loads((tmp_path / "maps" / "teacher.json").read_text())
    assert settings["words"] == {"cat": ["cat"], "dog": ["puppy", "hound"]}
    assert "with another words" in refused(*given)
    assert "--size" in refused(*given, "--size", "33")


@pytest.mark.parametrize(
    ("teacher", "more", "said"),
    [
        ("clap:ViT-B-16", (), "--teacher clap:ViT-B-16: unknown teacher; give clip:"),
        ("clip", (), "--teacher clip: names nothing"),
        ("boxes:", (), "--teacher boxes:: names nothing"),
        ("boxes:none.json", (), "none.json: cannot be read (No such file or directory)"),
        ("boxes:a.json", ("--boxes", "b.json"), "named by --teacher, too"),
        ("boxes:a.json", ("--weights", "b.pt"), "--weights: is not used by --teacher boxes"),
        ("clip:ViT-B-16/openai", ("--images", "b"), "--images: is not used by --teacher clip"),
        ("clip:ViT-B-16/openai", ("--prompt", "a photo"), "needs {} in the place of"),
        ("clip:ViT-B-16/openai", ("--batch-size", "0"), "--batch-size 0: must be at least 1"),
        ("boxes:a.json", ("--seed", "-1"), "--seed -1: must not be negative"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(teacher, more, said, refused, tmp_path):
    assert said in refused("--teacher", teacher, *more)
    assert not (tmp_path / "maps").exists()


def test_a_list_of_names_of_other_tags_is_refused(refused, data, tmp_path):
    (tmp_path / "names.csv").write_text("cat,kitten\nhorse,pony\n")
    message = refused(*of_boxes(data), "--names", tmp_path / "names.csv")
    assert "names.csv, line 2: no tag 'horse' in the data; the tags are cat, dog" in message
    (tmp_path / "names.csv").write_text("cat\n")
    assert "line 1: expected tag,words" in refused(
        *of_boxes(data), "--names", tmp_path / "names.csv"
    )


def test_boxes_of_other_data_are_refused_before_anything_is_written(refused, tmp_path):
    (tmp_path / "other.csv").write_text(HEAD + "horse/1.mp4,0,1,1,9,9\n")
    message = refused("--teacher", f"boxes:{tmp_path / 'other.csv'}")
    assert "none of its 1 frame is one of the data: it has horse/1.mp4#0, the data cat/" in message
    assert not (tmp_path / "maps").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user without all rights")
def test_a_folder_without_permission_is_named(refused, data, tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert "--out" in refused(*of_boxes(data))
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_place_of_the_folder_is_named(refused, data, tmp_path):
    (tmp_path / "maps").write_text("")
    assert f"--out {tmp_path / 'maps'}: cannot be written" in refused(*of_boxes(data))


def test_maps_in_the_data_folder_are_not_taken_for_data(refused, run, data):
    assert "is the data folder" in refused(*of_boxes(data), "--out", data)
    run(*of_boxes(data), "--out", data / "maps")
    assert open_data(data).classes == ("cat", "dog")
    run(*of_boxes(data), "--out", data / "maps")


# ---- evaluate.py --maps


@pytest.fixture
def evaluated(data, tmp_path, capsys):
    """Runs evaluate.py with the data; the summary, or the error."""

    def call(*argv, status=0):
        given = [
            "--data",
            data,
            "--json",
            tmp_path / "out.json",
            "--maps",
            tmp_path / "maps",
            *argv,
        ]
        assert evaluate([str(part) for part in given]) == status
        printed = capsys.readouterr()
        if status:
            assert printed.err.count("\n") == 1
            return printed.err
        return json.loads((tmp_path / "out.json").read_text()), printed.out

    return call


def test_maps_of_the_true_boxes_have_corloc_100(run, evaluated, data, tmp_path):
    run(*of_boxes(data), "--split", "val", "test")
    summary, printed = evaluated()
    assert summary["corloc"]["0.5"] == summary["corloc_honest"]["0.5"] == 100
    assert summary["frames"] == len(open_data(data).test)
    assert 0 <= summary["centre_box"]["corloc"]["0.5"] < 100
    assert summary["classification_accuracy"] is None
    assert "stored maps" in printed


def test_without_maps_of_validation_there_is_no_honest_threshold(run, evaluated, data):
    run(*of_boxes(data), "--split", "test")
    summary, printed = evaluated()
    assert summary["corloc"]["0.5"] == 100
    assert summary["corloc_honest"] is None
    assert "no threshold from validation: 8 of 8 validation frames without a map" in printed


def test_missing_maps_are_one_line(run, evaluated, data, tmp_path):
    assert "no such folder of maps" in evaluated(status=2)
    run(*of_boxes(data), "--split", "test")
    first = stored(tmp_path)[0]
    first.unlink()
    message = evaluated(status=2)
    assert f"no map for 1 of 8 frames with boxes (first: {first})" in message
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--coco", "a.json"), "--coco: needs --ckpt"),
        (("--smooth", "0.3"), "--smooth: needs --ckpt"),
        (("--refine", "1"), "--refine: needs --ckpt"),
        (("--boxes", "all"), "--boxes all: needs --ckpt"),
        (("--save-maps", "a"), "--save-maps: needs --ckpt"),
        (("--split", "train"), "--split train: needs --ckpt"),
        (("--ckpt", "a"), "not allowed with argument"),
    ],
)
def test_options_of_checkpoints_are_refused(more, said, evaluated):
    assert said in evaluated(*more, status=2)


def test_data_without_boxes_has_nothing_to_evaluate(run, evaluated, data, tmp_path):
    run(*of_boxes(data), "--split", "test")
    (data / "boxes.csv").unlink()
    assert "no frame in split 'test' has boxes" in evaluated(status=2)
