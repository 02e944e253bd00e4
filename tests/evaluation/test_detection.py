"""Metrics of several boxes per frame: COCO's AP50, CorLoc with any box, recall."""

import importlib.util
import json

import pytest

from colocam.cli.evaluate import main as evaluate
from colocam.data.decoding.images import ImageFrames
from colocam.data.records import BoxedFrame
from colocam.evaluation.coco import detection_metrics
from colocam.evaluation.predictions import Prediction, Predictions
from colocam.models.checkpoint import CheckpointInfo

INFO = CheckpointInfo("localizer", "resnet18", ("cat", "dog"), 8, "layercam", 0, {}, threshold=0.3)
LEFT, RIGHT, NOWHERE = (0, 0, 19, 19), (40, 0, 59, 19), (70, 30, 79, 39)
needs_pycocotools = pytest.mark.skipif(
    importlib.util.find_spec("pycocotools") is None, reason="needs the extra coco"
)


def predicted(*frames):
    """Predictions of frames: the true class, ground truth, predicted class, boxes and scores."""
    records = [
        BoxedFrame(f"v/{i}", label, "v", ImageFrames((f"{i}",), f"v/{i}"), 0, truth)
        for i, (label, truth, *_) in enumerate(frames)
    ]
    predictions = Predictions(records, INFO, 0.0)
    for place, (_, _, label, boxes, scores) in enumerate(frames):
        best = (boxes[0], scores[0]) if boxes else (None, 0.0)
        predictions.kept.append(
            Prediction(place, (80, 40), label, 0.9, *best, tuple(boxes), tuple(scores))
        )
    return predictions


@needs_pycocotools
def test_both_objects_of_a_frame_are_found_by_all_boxes_and_one_by_the_largest(capsys):
    found = predicted((0, (LEFT, RIGHT), 0, [LEFT, RIGHT], [0.9, 0.8]))
    every, largest = detection_metrics(found), detection_metrics(found, 1)
    assert capsys.readouterr().out == ""
    assert every["ap50"] == every["recall"] == every["recall_several"] == pytest.approx(100)
    assert largest["ap50"] == pytest.approx(100 * 51 / 101)  # precision 1 up to a recall of 0.5
    assert largest["recall"] == largest["recall_several"] == 50
    assert largest["corloc"] == every["corloc"] == 100  # any of the ground-truth boxes
    assert (largest["boxes_per_frame"], every["boxes_per_frame"]) == (1, 2)


@needs_pycocotools
def test_a_smaller_region_can_be_the_correct_box():
    frames = [(0, (RIGHT,), 0, [LEFT, RIGHT], [0.5, 0.9]), (1, (LEFT,), 1, [NOWHERE], [0.4])]
    every, largest = (detection_metrics(predicted(*frames), n) for n in (None, 1))
    assert (largest["corloc"], every["corloc"]) == (0, 50)
    assert (largest["ap50"], every["ap50"]) == (0, pytest.approx(50))
    assert every["recall_several"] is None


@needs_pycocotools
def test_a_wrong_class_counts_for_ap_and_not_without_classes():
    metrics = detection_metrics(predicted((0, (LEFT,), 1, [LEFT], [0.9])))
    assert (metrics["ap50"], metrics["ap50_class_agnostic"]) == (0, pytest.approx(100))


@needs_pycocotools
def test_boxes_on_frames_without_ground_truth_lower_the_precision():
    right, wrong = (0, (LEFT,), 0, [LEFT], [0.5]), (0, (), 0, [LEFT], [0.9])
    assert detection_metrics(predicted(right, wrong))["ap50"] == pytest.approx(50)
    only_empty = detection_metrics(predicted(wrong))
    assert {name: only_empty[name] for name in ("ap50", "corloc", "recall")} == {
        "ap50": None, "corloc": None, "recall": None,
    }  # fmt: skip
    assert detection_metrics(predicted((0, (LEFT,), 0, [], [])))["ap50"] == 0


@needs_pycocotools
def test_the_command_reports_largest_and_all_boxes(tiny_run, tmp_path, capsys):
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    argv = ["--ckpt", ckpt, "--data", str(tiny_run.data), "--device", "cpu", "--boxes", "all"]
    argv += ["--json", str(tmp_path / "n.json"), "--min-area", "0"]
    assert evaluate([*argv, "--coco", str(tmp_path / "coco.json")]) == 0
    assert "COCO AP50" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "n.json").read_text())
    largest, every = numbers["detection"]["largest"], numbers["detection"]["all"]
    assert largest["boxes_per_frame"] <= 1 < every["boxes_per_frame"]
    assert largest["corloc"] <= every["corloc"]
    assert largest["recall"] <= every["recall"]
    found = json.loads((tmp_path / "coco.json").read_text())
    assert len(found) == pytest.approx(every["boxes_per_frame"] * numbers["frames"])


def test_without_pycocotools_one_line_names_the_extra(monkeypatch, tmp_path, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pycocotools" else found(name)
    )
    assert evaluate(["--ckpt", str(tmp_path / "none"), "--boxes", "all"]) == 2
    error = capsys.readouterr().err
    assert "extra coco" in error
    assert error.count("\n") == 1
