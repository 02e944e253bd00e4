"""Stage 1 with --classifier-layers: what is trained, what stays as it was, cached features."""

import pytest
import torch
from safetensors.torch import load_file

from colocam.cli.options import parse_config
from colocam.cli.train import main
from colocam.models import Localizer
from colocam.runtime.distribution import ALONE
from colocam.training.classifier import ClassifierStage
from colocam.training.run import open_run


@pytest.fixture
def make_stage(two_epochs, tmp_path, weights_file):
    def make(*options):
        argv = [*two_epochs, "--out", str(tmp_path / "run"), "--amp", "off", *options]
        argv += ["--weights", weights_file]
        run = open_run(parse_config(argv, cuda=False), ALONE)
        torch.manual_seed(3)
        return ClassifierStage(run, Localizer("resnet18", len(run.data.classes)))

    return make


@pytest.mark.parametrize(
    ("layers", "trained"),
    [("all", ("encoder.", "head.")), ("last", ("encoder.layer4.", "head.")), ("head", ("head.",))],
)
def test_only_the_chosen_layers_and_statistics_change(make_stage, layers, trained):
    stage = make_stage("--classifier-layers", layers)
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    stage.train()
    for number, batch in enumerate(stage.loader.epoch(0)):
        stage.step([batch], 0.0, number)
    changed = {
        name for name, value in stage.model.state_dict().items()
        if name.startswith(("encoder.", "head.")) and not torch.equal(value, before[name])
    }  # fmt: skip
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    expected = {
        name for name in before
        if name.startswith(trained) and (layers == "all" or not name.endswith(statistics))
    }  # fmt: skip
    assert changed == expected


def test_cached_features_are_those_of_the_frames(make_stage):
    stage = make_stage("--classifier-layers", "head")
    stage.train()
    frames = stage.run.loader(1, stage.run.config.classifier_batch_size)
    images = torch.cat([batch.images for batch in frames.epoch(0)])
    labels = torch.cat([batch.labels for batch in frames.epoch(0)])
    encoder = stage.model.encoder
    with torch.no_grad():
        pooled = encoder(encoder.normalized(images))[-1].mean((2, 3))
    batches = list(stage.loader.epoch(0))
    assert len(batches) == len(stage.loader) == len(frames)
    seen = torch.cat([batch.features for batch in batches]).flatten(1)
    tags = torch.cat([batch.labels for batch in batches])
    distances = torch.cdist(seen, pooled)
    nearest = distances.argmin(1)
    assert sorted(nearest.tolist()) == list(range(len(pooled)))  # each frame once
    torch.testing.assert_close(seen, pooled[nearest], rtol=1e-4, atol=1e-5)
    assert torch.equal(tags, labels[nearest])
    assert {name for batch in batches for name in batch.names} == {
        name for batch in frames.epoch(0) for name in batch.names
    }


def test_epochs_have_the_same_features_in_another_order(make_stage):
    loader = make_stage("--classifier-layers", "head").loader
    first, second, again = (
        torch.cat([batch.features for batch in loader.epoch(epoch)]).flatten(1)
        for epoch in (0, 1, 0)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(0).values, second.sort(0).values)
    rest = torch.cat([batch.features for batch in loader.epoch(1, first=1)]).flatten(1)
    assert torch.equal(rest, second[-len(rest) :])


@pytest.mark.parametrize("options", [(), ("--pooling", "lse"), ("--epoch-steps", "5")])
def test_head_is_trained_on_frozen_features_and_resumes(
    two_epochs, tmp_path, weights_file, options
):
    argv = [*two_epochs, "--stage", "classifier", "--classifier-layers", "head", *options]
    argv += ["--weights", weights_file]
    assert main([*argv, "--out", str(tmp_path / "whole")]) == 0
    assert main([*argv, "--classifier-epochs", "1", "--out", str(tmp_path / "part")]) == 0
    again = ["--out", str(tmp_path / "part"), "--resume", "--classifier-epochs", "2"]
    assert main([*argv, *again]) == 0
    name = "checkpoints/classifier-best-classification.safetensors"
    whole, part = (load_file(tmp_path / run / name) for run in ("whole", "part"))
    assert whole.keys() == part.keys()
    for key, value in whole.items():
        torch.testing.assert_close(part[key], value)


def test_an_epoch_has_the_steps_asked_for(two_epochs, tmp_path, metrics_of):
    out = tmp_path / "run"
    options = ("--epoch-steps", "7", "--epochs", "1", "--classifier-epochs", "1")
    assert main([*two_epochs, *options, "--out", str(out)]) == 0
    run = open_run(parse_config([*two_epochs, *options, "--out", str(out)], cuda=False), ALONE)
    assert len(run.loader(4, 8)) == 7  # 14 of two draws of eight shots, two sequences each
    assert len(run.loader(1, 3)) == 7  # 21 of three draws of eight shots, three frames each


def test_validation_of_stage_1_has_its_own_interval(two_epochs, tmp_path, metrics_of):
    out = tmp_path / "run"
    options = ("--classifier-evaluate-every", "2", "--evaluate-every", "1")
    assert main([*two_epochs, *options, "--out", str(out)]) == 0
    scored = [(line["stage"], "localization" in line) for line in metrics_of(out)]
    assert scored == [
        ("classifier", False), ("classifier", True), ("localizer", True), ("localizer", True)
    ]  # fmt: skip
