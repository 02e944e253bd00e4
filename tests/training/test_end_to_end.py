"""TrCAM-V: encoder and both heads are trained together, on seeds from stored maps."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from colocam.cli.evaluate import main as evaluate
from colocam.cli.localize import main as localize
from colocam.cli.options import parse_config
from colocam.cli.train import main as train
from colocam.kernels import crf_energy
from colocam.models import Localizer
from colocam.models.checkpoint import load_checkpoint
from colocam.runtime.distribution import ALONE
from colocam.runtime.errors import UserError
from colocam.training.localizer import EndToEndStage, LocalizerStage, make_localizer_stage
from colocam.training.run import open_run

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ("--resize", "36", "--crop", "32", "--batch-size", "8")


@pytest.fixture(scope="module")
def maps(tiny_run, tmp_path_factory):
    """Stored maps of all training frames: the object in the middle."""
    folder = tmp_path_factory.mktemp("maps")
    ramp = 1 - np.abs(np.linspace(-1, 1, 12, dtype=np.float32))
    for frame in tiny_run.data.glob("*/data/*/shots/*/*.jpg"):
        path = folder / f"{frame.relative_to(tiny_run.data)}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.outer(ramp, ramp))
    return folder


@pytest.fixture
def arguments(two_epochs, maps):
    """Arguments of train.py, without the run folder."""
    return [*two_epochs, *SMALL, "--amp", "off", "--method", "trcam", "--seed-maps", str(maps)]


@pytest.fixture
def make_stage(arguments, tmp_path):
    def make(*options, dtype=torch.float32, weights=None):
        argv = [*arguments, "--out", str(tmp_path / "run"), *options]
        run = open_run(parse_config(argv, cuda=False), ALONE)
        torch.manual_seed(3)
        model = Localizer(run.config.encoder, len(run.data.classes)).to(run.device, dtype)
        if weights is not None:
            run = replace(run, config=replace(run.config, weights=weights))
        stage = make_localizer_stage(run, model.to(memory_format=torch.channels_last))
        assert type(stage) is EndToEndStage
        return stage

    return make


def gradients_of(stage, batches):
    """Gradients of a step by name, and its losses; batch norm in eval mode, seeds not drawn."""
    seen = {}
    stage.model.eval()
    stage.seeding.draw = lambda maps: (
        torch.full_like(maps, 255, dtype=torch.uint8)
        .masked_fill(maps > 0.6, 1)
        .masked_fill(maps < 0.1, 0)
    )

    def record():
        seen.update({name: p.grad.clone() for name, p in stage.model.named_parameters()})
        return torch.tensor(False)

    stage.update.step = record
    step = stage.step(batches, 0.5, 0)
    return seen, {name: float(value) for name, value in step.losses.items()}


def log(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


# ---- a step


@pytest.mark.parametrize("encoder", ["resnet18", "timm:deit_tiny_patch16_224"])
def test_gradient_reaches_the_encoder_and_both_heads(make_stage, encoder):
    if encoder.startswith("timm:"):
        pytest.importorskip("timm")
    stage = make_stage("--encoder", encoder)
    stage.train()
    batch = next(iter(stage.loader.epoch(0)))
    before = {name: value.clone() for name, value in stage.model.named_parameters()}
    assert not bool(stage.step([batch], 0.5, 0).skipped)
    moved = {
        name: not torch.equal(value, before[name]) for name, value in stage.model.named_parameters()
    }
    # A weight of normalization can stay at 1 where it has no gradient; biases start at 0.
    assert all(moved[name] for name in moved if before[name].ndim > 1)
    for part in ("encoder.", "head.", "decoder.", "to_maps."):
        assert any(moved[name] for name in moved if name.startswith(part)), part


def test_each_loss_alone_reaches_the_encoder(make_stage):
    """The tags through the classification head, the seeds and the CRF through the decoder."""
    only = {
        "head.": ("--pl-weight", "0", "--crf-weight", "0"),
        "to_maps.": ("--crf-weight", "0"),
    }
    for part, options in only.items():
        stage = make_stage(*options, dtype=torch.float64)
        batch = next(iter(stage.loader.epoch(0)))
        if part == "to_maps.":  # no gradient of the tags
            nn.init.zeros_(stage.model.head.weight)
        found, _ = gradients_of(stage, [batch])
        first = next(name for name in found if name.startswith("encoder."))
        assert found[first].abs().max() > 0
        assert found[f"{part}weight"].abs().max() > 0
        assert (found["to_maps.weight"].abs().max() > 0) == (part == "to_maps.")


def test_loss_is_cross_entropy_of_the_tags_plus_that_of_the_seeds_plus_the_crf(make_stage):
    stage = make_stage("--crf-weight", "3e-6", "--spatial-method", "dense", "--sigma-xy", "70")
    stage.model.eval()
    batch = next(iter(stage.loader.epoch(0)))
    stage.seeding.begin(0, 0)
    seeds = stage.seeding.draw(batch.maps)
    assert {0, 1} <= set(seeds.unique().tolist())
    with torch.no_grad():
        logits, maps = stage.model(stage.model.encoder.normalized(batch.images))
    tags = torch.tensor(
        [-row.log_softmax(0)[k] for row, k in zip(logits, batch.labels, strict=True)]
    ).mean()
    logs = maps.log_softmax(1)
    labelled = -torch.cat([logs[:, 0][seeds == 0], logs[:, 1][seeds == 1]]).mean()
    energies = [
        crf_energy(
            image[None], one[None], torch.zeros(1, dtype=torch.long), num_groups=1, sigma_rgb=15.0,
            sigma_xy=70 * 32 / 224, form="association", method="dense",
        )[0]
        for image, one in zip(batch.images, maps.softmax(1), strict=True)
    ]  # fmt: skip
    crf = 3e-6 * (224**2 / 32**2) ** 2 * torch.stack(energies).mean()
    losses = stage.step([batch], 0.5, 0).losses
    assert set(losses) == {"cross-entropy", "pl", "crf", "total", "foreground", "one_sided"}
    for name, value in {"cross-entropy": tags, "pl": labelled, "crf": crf}.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(losses["total"], tags + labelled + crf, rtol=1e-4, atol=1e-5)


def test_accumulated_batches_equal_one_larger_batch(make_stage):
    """Of the counts, the frames too go over all batches: the last one has fewer."""
    large, small = (
        make_stage("--batch-size", size, "--crf-weight", "0", dtype=torch.float64)
        for size in ("8", "3")
    )
    (joined,), parts = list(large.loader.epoch(0)), list(small.loader.epoch(0))
    assert len({len(part.images) for part in parts}) > 1
    expected, losses = gradients_of(large, [joined])
    got, summed = gradients_of(small, parts)
    for name, value in expected.items():
        atol = 1e-6 * float(value.abs().max())
        torch.testing.assert_close(got[name], value, rtol=0, atol=atol, msg=name)
    assert summed["cross-entropy"] == pytest.approx(losses["cross-entropy"], rel=1e-6)


def test_step_without_a_readable_frame_is_skipped(make_stage):
    stage = make_stage()
    stage.train()
    batch = next(iter(stage.loader.epoch(0)))
    stage.step([batch], 0.5, 0)  # from now on momentum alone moves the weights
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    assert bool(stage.step([replace(batch, blank=True)], 0.5, 1).skipped)
    for name, value in stage.model.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, before[name]), name


def test_logits_that_are_not_finite_skip_the_step(make_stage):
    stage = make_stage()
    stage.train()
    with torch.no_grad():
        stage.model.head.bias[0] = torch.inf
    before = stage.model.to_maps.weight.clone()
    assert bool(stage.step([next(iter(stage.loader.epoch(0)))], 0.5, 0).skipped)
    assert torch.equal(stage.model.to_maps.weight, before)


def test_encoder_and_heads_have_their_learning_rates(make_stage):
    rates = ("--classifier-lr", "0.003", "--classifier-head-factor", "4")
    stage = make_stage("--lr", "0.02", "--encoder-lr", "0.005", *rates)
    rates = {
        parameter: group["lr"]
        for group in stage.update.optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in stage.model.named_parameters():
        expected = {"encoder": 0.005, "head": 0.012}.get(name.split(".")[0], 0.02)
        assert rates[parameter] == pytest.approx(expected), name


@pytest.mark.parametrize(("weights", "updates"), [("none", True), ("imagenet", False)])
def test_batch_norm_keeps_the_statistics_of_pretrained_weights_only(make_stage, weights, updates):
    stage = make_stage(weights=weights)
    before = {name: value.clone() for name, value in stage.model.named_buffers()}
    stage.train()
    stage.step([next(iter(stage.loader.epoch(0)))], 0.5, 0)
    for name, value in stage.model.named_buffers():
        if name.endswith("running_mean"):
            changes = updates or name.startswith("decoder.")
            assert torch.equal(value, before[name]) != changes, name


# ---- runs


def test_transformer_is_trained_evaluated_and_used_to_localize(
    arguments, tiny_run, tmp_path, capsys
):
    """In one stage, at another size than that of the model; stage 1 is not run."""
    pytest.importorskip("timm")
    out = tmp_path / "run"
    argv = [*arguments, "--epochs", "1", "--encoder", "timm:deit_tiny_patch16_224"]
    assert train([*argv, "--resize", "50", "--crop", "48", "--out", str(out)]) == 0
    assert "classification" in capsys.readouterr().out
    names = {path.stem for path in (out / "checkpoints").iterdir()}
    assert names == {"localizer-best", "localizer-last", "state-localizer-0001-000000"}
    (line,) = log(out)
    assert line["stage"] == "localizer"
    assert {"cross-entropy", "pl", "crf", "classification", "localization"} <= set(line)
    assert not {"asc", "coloc"} & set(line)
    best = out / "checkpoints" / "localizer-best.safetensors"
    assert load_checkpoint(best)[1].size == 48
    argv = ["--ckpt", str(best), "--data", str(tiny_run.data), "--device", "cpu", "--amp", "off"]
    assert evaluate([*argv, "--json", str(tmp_path / "e.json")]) == 0
    summary = json.loads((tmp_path / "e.json").read_text())
    assert summary == json.loads((out / "report" / "evaluation.json").read_text())
    assert summary["classification_accuracy"] is not None
    assert "TrCAM-V" in (out / "report" / "table.md").read_text()
    video = next(tiny_run.data.glob("*/data/*/shots/*"))
    argv = [str(video), "--ckpt", str(best), "--out", str(tmp_path / "boxes"), "--device", "cpu"]
    assert localize(argv) == 0
    assert json.loads((tmp_path / "boxes" / "boxes.json").read_text())


def test_resumed_run_has_the_bits_of_a_whole_one(arguments, tmp_path, monkeypatch, metrics_of):
    """Stopped within an epoch. A classifier is not needed to resume."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    argv = [*arguments, "--state-every", "1", "--batch-size", "3", "--epochs", "1"]
    assert train([*argv, "--out", str(whole)]) == 0
    original, calls = EndToEndStage.step, []

    def step(stage, batches, epoch, number):
        calls.append(number)
        if len(calls) == 3:
            raise UserError("stopped")
        return original(stage, batches, epoch, number)

    monkeypatch.setattr(EndToEndStage, "step", step)
    assert train([*argv, "--out", str(stopped)]) == 2
    assert train(["--resume", "--out", str(stopped)]) == 0
    assert calls == [0, 1, 2, 2]
    names = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert names == sorted(path.name for path in (stopped / "checkpoints").iterdir())
    for name in names:
        one, other = (load_file(out / "checkpoints" / name) for out in (whole, stopped))
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items()), name
    assert metrics_of(whole) == metrics_of(stopped)


def test_stage_localizer_starts_from_the_classifier_in_the_run_folder(
    tiny_run, maps, tmp_path, monkeypatch
):
    """Its weights are where training starts, and they move."""
    shutil.copytree(tiny_run.out, tmp_path / "run")
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(tmp_path / "run")]
    starts = []
    original = LocalizerStage.__init__

    def started(stage, run, model, teacher=None):
        starts.append({name: value.clone() for name, value in model.state_dict().items()})
        original(stage, run, model, teacher)

    monkeypatch.setattr(LocalizerStage, "__init__", started)
    argv += ["--method", "trcam", "--seed-maps", str(maps), "--stage", "localizer"]
    assert train([*argv, "--overwrite", "--classifier", "both"]) == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    first = load_file(checkpoints / "classifier-best-classification.safetensors")
    after = load_file(checkpoints / "localizer-last.safetensors")
    for name, value in first.items():
        assert torch.equal(starts[0][name], value), name
    moved = {name for name, value in first.items() if not torch.equal(after[name], value)}
    assert {name for name in first if name.endswith("weight")} <= moved


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ("--method trcam", "--seed-maps DIR")),
        (["--stage", "localizer"], ("--method trcam", "--seed-maps DIR")),
        (
            ["--seed-maps", "maps", "--tag-weighting", "weight"],
            ("--tag-weighting weight", "--method trcam"),
        ),
        (["--seed-maps", "maps", "--encoder-lr", "0"], ("--encoder-lr 0.0", "greater than 0")),
        (["--seed-maps", "nothing"], ("nothing: no such folder of seed maps",)),
    ],
)
def test_mistake_is_one_line_that_names_the_option(
    tiny_run, tmp_path, monkeypatch, capsys, options, words
):
    monkeypatch.chdir(tmp_path)
    argv = ["--preset", "smoke", "--device", "cpu", "--data", str(tiny_run.data)]
    assert train([*argv, "--method", "trcam", *options]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ")
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []


def test_stage_classifier_needs_no_maps():
    config = parse_config(["--method", "trcam", "--stage", "classifier"], False)
    assert config.stages == ("classifier",)
    config = parse_config(["--method", "trcam", "--seed-maps", "d"], False)
    assert config.stages == ("localizer",)
    assert parse_config(["--method", "fcam"], False).stages == ("classifier", "localizer")


def test_random_encoder_is_trained_whatever_layers_stage_1_would_train():
    """Without stage 1, --classifier-layers is not used."""
    argv = ["--preset", "real-cpu", "--weights", "none", "--method", "trcam", "--seed-maps", "d"]
    assert parse_config(argv, False).classifier_layers == "head"
