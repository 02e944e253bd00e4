"""Whole pipeline on a tiny clip set: train.py, its run folder, evaluate.py."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from colocam.cli.evaluate import main as evaluate
from colocam.cli.train import main as train
from colocam.data.layouts import builtin
from colocam.models.checkpoint import load_checkpoint
from colocam.report import report as report_module
from colocam.runtime.errors import UserError

CHECKPOINTS = {
    "classifier-best-classification": "classifier",
    "classifier-best-localization": "classifier",
    "localizer-best": "localizer",
    "localizer-last": "localizer",
}
KEYS = {
    "corloc", "per_class", "corloc_honest", "corloc_v2", "top1_loc", "top5_loc",
    "classification_accuracy", "frames", "boxes", "per_video", "by_size", "threshold_curve",
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def evaluation(out):
    return json.loads((out / "report" / "evaluation.json").read_text())


def same(one, other):
    one, other = load_file(one), load_file(other)
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def classifier_only(tiny_run, tmp_path):
    """A run folder with the results of stage 1 only."""
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    for path in (out / "checkpoints").glob("*localizer-*"):
        path.unlink()
    first = (out / "metrics.jsonl").read_text().splitlines(keepends=True)[0]
    (out / "metrics.jsonl").write_text(first)
    return out


# ---- run folder


def test_run_succeeds_and_writes_its_files(tiny_run):
    assert tiny_run.status == 0
    names = {str(f.relative_to(tiny_run.out)) for f in tiny_run.out.rglob("*") if f.is_file()}
    assert names == {
        ".lock",  # empty; see `claim_folder`
        "config.json",
        "split.json",
        "metrics.jsonl",
        *(f"checkpoints/{name}.safetensors" for name in CHECKPOINTS),
        "checkpoints/state-classifier-0001-000000.safetensors",
        "checkpoints/state-localizer-0001-000000.safetensors",
        *(
            f"report/{name}"
            for name in ("evaluation.json", "index.html", "table.md", "contact_sheet.png")
        ),
        *(f"report/overlays/{name}.mp4" for name in ("best", "median", "worst")),
    }
    config = json.loads((tiny_run.out / "config.json").read_text())
    assert (config["data"], config["epochs"]) == (str(tiny_run.data), 1)


def test_metrics_have_losses_rates_and_scores_of_both_stages(tiny_run):
    classifier, localizer = metrics(tiny_run.out)
    assert (classifier["stage"], classifier["epoch"]) == ("classifier", 0)
    assert {"cross-entropy", "frames_per_second", "classification", "localization"} <= set(
        classifier
    )
    assert (localizer["stage"], localizer["epoch"]) == ("localizer", 0)
    terms = [localizer[name] for name in ("pl", "crf", "asc", "coloc")]
    assert localizer["total"] == pytest.approx(sum(terms), rel=1e-4)
    assert localizer["coloc"] == pytest.approx(-9, rel=1e-4)  # λ_c·R/|R|, association
    assert {"localization", "seed_cam", "frames_per_second"} <= set(localizer)


def test_evaluation_has_the_documented_keys(tiny_run):
    summary = evaluation(tiny_run.out)
    assert set(summary) == KEYS | {"baseline", "centre_box"}
    assert set(summary["baseline"]) == KEYS
    num_classes = len(builtin.CLASSES)
    assert set(summary["centre_box"]) == KEYS
    for one in (summary, summary["baseline"], summary["centre_box"]):
        assert set(one["corloc"]) == {"0.3", "0.5", "0.7"}
        assert set(one["per_class"]) == set(builtin.CLASSES)
        assert set(one["corloc_honest"]) == {"0.5", "threshold"}
        assert one["frames"] == one["boxes"] == num_classes * tiny_run.clip_set.boxed
        shares = [entry["corloc"] for entry in one["per_class"].values()]
        assert one["corloc"]["0.5"] == pytest.approx(np.mean(shares))
        assert all(
            set(entry) == {"corloc", "threshold", "frames"} for entry in one["per_class"].values()
        )
    table = (tiny_run.out / "report" / "table.md").read_text()
    assert all(name in table for name in (*builtin.CLASSES, "seed CAM", "CoLo-CAM", "mean"))


@pytest.mark.parametrize(("name", "kind"), CHECKPOINTS.items())
def test_checkpoints_hold_what_is_needed_to_load_them(tiny_run, name, kind):
    model, info = load_checkpoint(tiny_run.checkpoint(name))
    assert (info.kind, info.encoder, info.classes) == (kind, "resnet18", builtin.CLASSES)
    assert (info.size, info.cam, info.epoch) == (64, "layercam", 0)
    assert info.cam_threshold is not None
    assert (info.threshold is not None) == (kind == "localizer")
    assert not model.training


def test_stage_2_does_not_change_the_classifier_and_its_statistics(tiny_run):
    before = load_file(tiny_run.checkpoint("classifier-best-localization"))
    after = load_file(tiny_run.checkpoint("localizer-last"))
    assert any("running_mean" in name for name in before)
    assert all(name.startswith(("encoder.", "head.")) for name in before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    decoder = [name for name in after if name not in before]
    assert decoder
    assert all(name.startswith(("decoder.", "to_maps.")) for name in decoder)
    steps = [after[name].item() for name in decoder if name.endswith("num_batches_tracked")]
    assert min(steps) > 0


# ---- other commands and stages


def test_evaluate_returns_the_numbers_of_the_run(tiny_run, tmp_path):
    ckpt = tiny_run.checkpoint("localizer-best")
    file, report = tmp_path / "numbers.json", tmp_path / "report"
    argv = ["--ckpt", str(ckpt), "--data", str(tiny_run.data), "--device", "cpu"]
    assert evaluate([*argv, "--json", str(file), "--report", str(report)]) == 0
    assert json.loads(file.read_text()) == evaluation(tiny_run.out)
    assert (report / "contact_sheet.png").is_file()


def test_report_is_written_without_overlays_if_they_fail(tiny_run, tmp_path, monkeypatch, capsys):
    def fail(*given, **named):
        raise UserError("best.mp4: cannot be written (no encoder)")

    monkeypatch.setattr(report_module, "write_overlays", fail)
    argv = ["--ckpt", str(tiny_run.checkpoint("localizer-best")), "--data", str(tiny_run.data)]
    argv += ["--device", "cpu"]
    assert evaluate([*argv, "--report", str(tmp_path / "report")]) == 0
    assert "warning: best.mp4: cannot be written (no encoder); no overlays" in " ".join(
        capsys.readouterr().out.split()
    )
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"evaluation.json", "index.html", "table.md", "contact_sheet.png"}


def test_evaluate_smooths_score_maps_only(tiny_run, tmp_path, capsys):
    argv = ["--ckpt", str(tiny_run.checkpoint("localizer-best")), "--data", str(tiny_run.data)]
    argv += ["--device", "cpu"]
    argv += ["--predictions", str(tmp_path / "p.json"), "--json", str(tmp_path / "e.json")]
    scores = []
    for more in ([], ["--smooth", "0.6"]):
        assert evaluate([*argv, *more]) == 0
        found = json.loads((tmp_path / "p.json").read_text())
        scores.append([record["score"] for record in found])
        baseline = json.loads((tmp_path / "e.json").read_text())["baseline"]
        assert baseline == evaluation(tiny_run.out)["baseline"]
        assert ("smoothed 0.6" in capsys.readouterr().out) == bool(more)
    assert scores[0] != scores[1]
    assert evaluate([*argv, "--smooth", "1"]) == 2
    assert capsys.readouterr().err == "error: --smooth 1.0: must be between 0 and 1\n"
    assert evaluate([*argv, "--smooth", "0.5", "--save-maps", str(tmp_path / "maps")]) == 2
    assert "--save-maps: writes the maps as they are; omit --smooth" in capsys.readouterr().err
    classifier = str(tiny_run.checkpoint("classifier-best-localization"))
    assert evaluate(["--ckpt", classifier, *argv[2:4], "--smooth", "0.5"]) == 2
    assert "holds a classifier" in capsys.readouterr().err


def test_evaluate_accepts_validation_frames_and_a_classifier(tiny_run, tmp_path):
    ckpt = tiny_run.checkpoint("classifier-best-localization")
    file = tmp_path / "numbers.json"
    argv = ["--ckpt", str(ckpt), "--data", str(tiny_run.data), "--device", "cpu"]
    assert evaluate([*argv, "--split", "val", "--json", str(file)]) == 0
    summary = json.loads(file.read_text())
    assert set(summary) == KEYS | {"centre_box"}
    assert summary["corloc"]["0.5"] == metrics(tiny_run.out)[0]["localization"]


def test_stage_localizer_equals_both_stages(tiny_run, classifier_only):
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(classifier_only)]
    assert train([*argv, "--stage", "localizer"]) == 0
    for name in ("localizer-last", "localizer-best"):
        path = classifier_only / "checkpoints" / f"{name}.safetensors"
        assert same(path, tiny_run.checkpoint(name))
    assert [line["stage"] for line in metrics(classifier_only)] == ["classifier", "localizer"]
    assert evaluation(classifier_only) == evaluation(tiny_run.out)


def test_fcam_trains_without_the_joint_term(tiny_run, classifier_only):
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(classifier_only)]
    assert train([*argv, "--stage", "localizer", "--method", "fcam"]) == 0
    line = metrics(classifier_only)[-1]
    assert "coloc" not in line
    assert {"pl", "crf", "asc", "total"} <= set(line)
    assert "F-CAM" in (classifier_only / "report" / "table.md").read_text()


def test_stage_classifier_writes_no_localizer(tiny_run, classifier_only):
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(classifier_only)]
    assert train([*argv, "--stage", "classifier", "--overwrite"]) == 0
    names = {path.stem for path in (classifier_only / "checkpoints").iterdir()}
    own = {name for name, kind in CHECKPOINTS.items() if kind == "classifier"}
    assert names == own | {"state-classifier-0001-000000"}
    assert set(evaluation(classifier_only)) == KEYS | {"centre_box"}
    assert [line["stage"] for line in metrics(classifier_only)] == ["classifier"]


def test_same_seed_trains_the_same_weights_on_the_builtin_clip_set(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(builtin.SIZES, "small", tiny_run.clip_set)
    assert train(list(tiny_run.arguments)) == 0
    for name in CHECKPOINTS:
        own = tmp_path / "runs" / "smoke" / "checkpoints" / f"{name}.safetensors"
        assert same(own, tiny_run.checkpoint(name))
    ckpt = tmp_path / "runs" / "smoke" / "checkpoints" / "localizer-best.safetensors"
    argv = ["--ckpt", str(ckpt), "--clip-set", "small", "--device", "cpu", "--json", "n.json"]
    assert evaluate(argv) == 0
    assert json.loads((tmp_path / "n.json").read_text()) == evaluation(tiny_run.out)


# ---- plain folders of videos


def plain_folder(data, write_video, boxes):
    """Cats and dogs in three videos each, and a folder of a bird with undecodable frames."""
    for name in ("cat", "dog"):
        for number in range(3):
            write_video(data / name / f"{number}.mp4")
    flock = write_video(data / "bird" / "flock")
    (flock / "0003.jpg").write_bytes(b"")
    (flock / "0004.jpg").write_bytes((flock / "0004.jpg").read_bytes()[:40])
    if boxes:
        videos = [f"{name}/{number}.mp4" for name in ("cat", "dog") for number in range(3)]
        lines = [
            f"{video},{t},{4 + 2 * t},8,{19 + 2 * t},23" for video in [*videos, "bird/flock"]
            for t in (2, 7)
        ]  # fmt: skip
        (data / "boxes.csv").write_text("\n".join(["video,frame,x0,y0,x1,y1", *lines]) + "\n")
    return data


def test_folder_of_videos_trains_and_evaluates(tmp_path, write_video, tiny_run, capsys):
    data = plain_folder(tmp_path / "data", write_video, boxes=True)
    out = tmp_path / "run"
    assert train([*tiny_run.arguments, "--data", str(data), "--out", str(out)]) == 0
    summary = evaluation(out)
    assert set(summary["per_class"]) == {"bird", "cat", "dog"}
    assert summary["boxes"] == summary["frames"] == 6
    assert summary["corloc_honest"] is not None
    printed = " ".join(capsys.readouterr().out.split())
    assert "bird/flock: 1 zero-byte frame skipped (first: 0003.jpg)" in printed
    assert "warning: bird/flock frame 4: cannot be decoded, skipped" in printed
    assert re.search(r"\d+ frames? could not be decoded and (was|were) skipped", printed)
    file = tmp_path / "numbers.json"
    ckpt = out / "checkpoints" / "localizer-best.safetensors"
    argv = ["--ckpt", str(ckpt), "--data", str(data), "--device", "cpu", "--json", str(file)]
    assert evaluate(argv) == 0
    assert json.loads(file.read_text()) == summary


def test_without_boxes_there_is_no_corloc_and_the_last_localizer_is_best(
    tmp_path, write_video, tiny_run
):
    data = plain_folder(tmp_path / "data", write_video, boxes=False)
    out = tmp_path / "run"
    argv = [*tiny_run.arguments, "--epochs", "2", "--data", str(data), "--out", str(out)]
    assert train(argv) == 0
    summary = evaluation(out)
    assert summary["corloc"] is summary["corloc_honest"] is summary["top1_loc"] is None
    assert summary["boxes"] == 0
    assert summary["classification_accuracy"] is not None
    assert same(*(out / "checkpoints" / f"localizer-{n}.safetensors" for n in ("best", "last")))
    _, info = load_checkpoint(out / "checkpoints" / "localizer-best.safetensors")
    assert (info.threshold, info.cam_threshold, info.epoch) == (None, None, 1)
    first = metrics(out)[0]
    assert "classification" in first
    assert "localization" not in first
    assert (out / "report" / "contact_sheet.png").is_file()


def test_undecodable_validation_frames_are_counted(tiny_run, tmp_path, capsys):
    data = tmp_path / "clips"
    shutil.copytree(tiny_run.data, data)
    frame = (data / "splits" / "val" / "image_ids.txt").read_text().split()[0]
    (data / frame).write_bytes(b"no image")
    out = tmp_path / "run"
    argv = [*tiny_run.arguments, "--stage", "classifier", "--data", str(data), "--out", str(out)]
    assert train(argv) == 0
    printed = "".join(capsys.readouterr().out.split())
    assert f"warning:{frame}:cannotbedecoded,skipped" in printed
    assert "1framecouldnotbedecodedandwasskipped" in printed
