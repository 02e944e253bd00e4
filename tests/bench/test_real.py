"""bench/real.py: rows, options, the centre box, resuming, errors."""

import json

import cv2
import numpy as np
import pytest

from lib.paper import stored_maps, teaching
from lib.paper import trials as paper_trials
from lib.paper.tables import Row
from lib.paper.trials import Experiment
from lib.real import trials as real_trials

import real
from colocam.cli.options import parse_config
from colocam.cli.seed_maps import main as seed_maps
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import SplitRecord, write_split
from colocam.data.loading.loader import EpochOrder
from colocam.data.loading.seed_maps import SeedMaps

SPLITS = ("all", "disjoint")


@pytest.fixture
def folders(tmp_path):
    """A data folder, and beside it two folders of split files."""
    (tmp_path / "videos").mkdir()
    for name in SPLITS:
        folder = tmp_path / "videos-splits" / name
        folder.mkdir(parents=True)
        (folder / "class_id.yaml").write_text("cat: 0\n")
    return tmp_path


@pytest.fixture
def split_of_one_video(folders):
    """Writes a video of three frames and split files in which it trains and is tested."""

    def write(boxes):
        video = folders / "videos" / "cat" / "one"
        video.mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(video / f"{number}.png"), np.full((48, 64, 3), 80 * number, np.uint8))
        shot = SplitRecord("cat/one", 0, None, ())
        frames = [
            SplitRecord(f"cat/one/{path.name}", 0, (64, 48), ((1, 2, 20, 30),) if boxes else ())
            for path in sorted(video.iterdir())
        ]
        for name, records in (("train", [shot]), ("val", frames), ("test", frames)):
            write_split(folders / "videos-splits" / "disjoint" / name, records)

    return write


def summary_of(value):
    return {
        "corloc": {"0.3": value + 20, "0.5": value, "0.7": value - 20},
        "corloc_honest": {"0.5": value - 5, "threshold": 0.3},
        "corloc_v2": value - 1,
    }


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Replaces training and evaluation by scores that follow from the options; configurations."""
    calls = []
    values = {"fcam": 30.0, "tcam": 35.0, "trcam": 40.0, "colocam": 50.0}

    monkeypatch.setattr(real, "_check", lambda *_: None)  # there are no videos

    def write(folder, value):
        (folder / "report").mkdir(parents=True, exist_ok=True)
        summary = summary_of(value) | {"centre_box": summary_of(21.0)}
        (folder / "report" / "evaluation.json").write_text(json.dumps(summary))

    def train(arguments, threads, log):
        config = parse_config(arguments, cuda=False)
        calls.append(config)
        (config.out / "checkpoints").mkdir(parents=True, exist_ok=True)
        for name in paper_trials.BEST:
            (config.out / "checkpoints" / f"{name}.safetensors").write_bytes(b"weights")
        line = {"stage": config.stage, "epoch": 0, "localization": 40.0, "one_sided": 0.25}
        (config.out / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        first = config.stage == "classifier"
        write(config.out, 28.0 if first else values[config.method] + config.seed)

    monkeypatch.setattr(paper_trials, "train", train)
    monkeypatch.setattr(
        stored_maps.StoredMapsTrial, "_write_maps", lambda trial: trial.maps.mkdir(parents=True)
    )
    monkeypatch.setattr(real, "write_sheet", lambda *_: None)
    return calls


def run(folders, *argv):
    places = ["--runs", str(folders / "runs"), "--results", str(folders / "results")]
    return real.main(["--data", str(folders / "videos"), *argv, *places])


def results(folders, split):
    (path,) = (folders / "results").glob(f"real-{split}-small-*.json")
    return json.loads(path.read_text()), path.with_suffix(".md").read_text()


def test_every_method_is_trained_with_every_seed_and_the_same_stage_1(folders, trained):
    assert run(folders, "--seeds", "0", "1") == 0
    assert len([config for config in trained if config.stage == "classifier"]) == 4
    seen = {(c.splits.name, c.seed, c.method) for c in trained if c.stage == "localizer"}
    assert seen == {
        (split, seed, method)
        for split in SPLITS for seed in (0, 1) for method in ("fcam", "tcam", "trcam", "colocam")
    }  # fmt: skip
    assert {config.preset for config in trained} == {"real-cpu"}
    # The same number of steps for all methods; their batches have other numbers of sequences.
    stage_2 = {c.method: c for c in trained if c.stage == "localizer"}
    steps = set()
    for config in stage_2.values():
        read = config.frames if config.method == "tcam" else 1
        per_batch = read * config.batch_size // config.sequence_frames
        order = EpochOrder(33, per_batch, 0, 0, 1, least_batches=config.epoch_steps)
        steps.add(config.epochs * len(order))
    assert steps == {150}


def test_table_has_the_centre_box_and_the_spread_over_the_seeds(folders, trained):
    assert run(folders, "--seeds", "0", "1", "2", "--only", "disjoint") == 0
    result, text = results(folders, "disjoint")
    assert result["centre_box"]["corloc"]["0.5"] == 21.0
    names = [row["name"] for row in result["rows"]]
    assert names[:4] == ["LayerCAM", "F-CAM", "TCAM", "TrCAM-V on LayerCAM maps"]
    assert names[4:] == [
        "CoLo-CAM, colours", "CoLo-CAM, features", "CoLo-CAM, colours and features",
    ]  # fmt: skip
    layercam, *_, colocam = result["rows"]
    assert layercam["corloc"] == [28.0] * 3  # as stage 1 evaluated it
    assert layercam["validation"] == [40.0] * 3
    assert colocam["corloc"] == [50.0, 51.0, 52.0]
    assert colocam["corloc_honest"] == [45.0, 46.0, 47.0]
    assert colocam["one_sided"] == [25.0] * 3
    lines = text.splitlines()
    assert "tested on other videos" in lines[0]
    assert "seeds 0, 1, 2" in lines[0]
    assert any(line.startswith("| centre box | 21.0 | 16.0 |") for line in lines)
    assert any(line.startswith(f"| {names[5]} | 51.0 ± 1.0 | 46.0 ± 1.0 |") for line in lines)


def test_stored_maps_are_those_of_the_trials_own_stage_1_and_written_once(folders, trained):
    for _ in range(2):
        assert run(folders, "--seeds", "0", "1", "--only", "all") == 0
    (one, two) = (config for config in trained if config.method == "trcam")
    for config in (one, two):
        (first,) = (c for c in trained if (c.stage, c.seed) == ("classifier", config.seed))
        assert config.seed_maps == first.out / "maps"
        assert config.stage == "localizer"  # the other methods' start


def test_every_training_frame_gets_a_map_of_the_classifier(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_maps.StoredMapsTrial, "classifier", tmp_path)
    (tmp_path / "checkpoints").symlink_to(tiny_run.out / "checkpoints")
    experiment = Experiment(tmp_path, tiny_run.data, None, {"preset": "smoke"})
    trial = real_trials.make_trial(experiment, Row("", {"method": "trcam"}), 0)
    trial._write_maps()
    assert trial.options["seed-maps"] == trial.maps == tmp_path / "maps"
    shots = open_data(tiny_run.data, None, seed=0).train
    SeedMaps(trial.maps).check(shots, frame_limit=1.0)
    assert len(list(trial.maps.rglob("*.npy"))) == sum(len(shot.frames) for shot in shots)


def test_finished_trials_are_not_trained_again(folders, trained):
    assert run(folders, "--seeds", "0", "--only", "all") == 0
    count = len(trained)
    assert run(folders, "--seeds", "0", "1", "--only", "all") == 0
    assert {config.seed for config in trained[count:]} == {1}
    assert "train by their tags" in results(folders, "all")[1]


def test_a_taught_row_is_trained_with_maps_of_the_boxes_of_its_teacher(
    folders, trained, monkeypatch
):
    taught = []

    def write_maps(ckpt, data, splits, seed, folder):
        assert ckpt.parents[1].name == "seed0_localizer"
        assert (data, splits) == (folders / "videos", folders / "videos-splits" / "disjoint")
        taught.append(seed)
        return folder / "maps"

    monkeypatch.setattr(paper_trials, "write_maps_of_boxes", write_maps)
    argv = ["--table", "teacher", "--only", "disjoint", "--seeds", "0"]
    assert run(folders, *argv) == 0
    first, second = [config for config in trained if config.stage == "localizer"]
    assert taught == [0]
    assert first.seed_maps is None
    assert second.seed_maps == second.out.with_name(f"{second.out.name}-teacher") / "maps"
    assert run(folders, *argv) == 0
    assert len(trained) == 3


def test_maps_of_boxes_are_of_the_training_videos(split_of_one_video, folders, monkeypatch):
    split_of_one_video(boxes=True)
    localized = []

    def command(module, arguments):
        if module == "colocam.seed_maps":
            assert seed_maps(arguments) == 0
            return
        localized.append(arguments[0])
        boxes = [[8, 8, 30, 30], [9, 8, 31, 30], None]
        record = {"video": arguments[0], "class": "cat", "score": 0.5}
        (folders / "teacher" / "boxes").mkdir(parents=True)
        (folders / "teacher" / "boxes" / "boxes.json").write_text(
            json.dumps([record | {"frame": i, "box": box} for i, box in enumerate(boxes)])
        )

    monkeypatch.setattr(teaching, "_run", command)
    splits = folders / "videos-splits" / "disjoint"
    for _ in range(2):  # the second continues
        maps = teaching.write_maps_of_boxes(
            folders / "ckpt", folders / "videos", splits, 0, folders / "teacher"
        )
    assert localized == [str(folders / "videos" / "cat" / "one")]
    of_frames = [np.load(maps / "cat" / "one" / f"{number}.png.npy") for number in range(3)]
    assert [bool(values.any()) for values in of_frames] == [True, True, False]


def test_mistakes_are_one_line(folders, tmp_path, error_of):
    def error(*argv):
        return error_of(real.main, list(map(str, argv)))

    assert "no such folder" in error("--data", tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    assert "no folder of split files" in error("--data", tmp_path / "other")
    assert "--only some" in error("--data", folders / "videos", "--only", "some")
    assert "--seeds" in error("--data", folders / "videos", "--seeds", "-1")


def test_data_without_boxes_is_an_error_before_training(
    folders, tmp_path, error_of, split_of_one_video
):
    split_of_one_video(boxes=False)
    message = error_of(real.main, ["--data", str(folders / "videos"), "--only", "disjoint"])
    assert message.endswith("disjoint: no validation frame has boxes")


def test_unknown_class_and_missing_trials_are_one_line(
    folders, tmp_path, error_of, split_of_one_video
):
    split_of_one_video(boxes=True)
    argv = ["--data", str(folders / "videos"), "--only", "disjoint", "--runs", str(tmp_path / "r")]
    assert "--show dog: the classes are cat" in error_of(real.main, [*argv, "--show", "dog"])
    assert "no finished trial" in error_of(real.main, [*argv, "--only-done"])
