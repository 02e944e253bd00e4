"""A training step: optimizer update, skipped steps, accumulation, frame weights, precision."""

import copy
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from colocam.cli.options import parse_config
from colocam.cli.train import main
from colocam.losses import Counts
from colocam.models import Localizer
from colocam.runtime.distribution import ALONE
from colocam.training.classifier import ClassifierStage
from colocam.training.localizer import LocalizerStage
from colocam.training.progress import Progress, StepResult
from colocam.training.run import open_run
from colocam.training.update import Update, nan_if_not_finite

pytestmark = pytest.mark.usefixtures("one_thread")


def make_update(module, scaler=None, **changed):
    settings = {"momentum": 0.9, "weight_decay": 1e-2, "decay_every": 2, "decay": 0.5}
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    return Update([(module, 0.1)], **(settings | changed), scaler=scaler)


@pytest.fixture
def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    return module.to(memory_format=torch.channels_last)


def images(seed):
    drawn = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return drawn.contiguous(memory_format=torch.channels_last)


def take_step(module, update, seed, factor=1.0):
    update.begin()
    outputs = module(images(seed)) * factor
    update.backward(nan_if_not_finite(outputs.square().mean(), outputs))
    return bool(update.step())


# ---- optimizer update


def test_steps_equal_plain_sgd(network):
    twin = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    twin.load_state_dict(network.state_dict())
    plain = torch.optim.SGD(
        twin.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2, foreach=False
    )
    update = make_update(network)
    for seed in range(4):
        assert not take_step(network, update, seed)
        twin(images(seed)).square().mean().backward()
        plain.step()
        plain.zero_grad()
    for own, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("first", [True, False])
def test_non_finite_step_changes_nothing(network, bad, first):
    update = make_update(network)
    if not first:
        assert not take_step(network, update, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    momenta = [update.optimizer.state[p]["momentum_buffer"].clone() for p in update.parameters]
    assert take_step(network, update, 1, factor=bad)
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, before[name]), name
    for parameter, momentum in zip(update.parameters, momenta, strict=True):
        assert torch.equal(update.optimizer.state[parameter]["momentum_buffer"], momentum)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_skipped_step_does_not_influence_later_steps(network):
    twin = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    twin = twin.to(memory_format=torch.channels_last)
    twin.load_state_dict(network.state_dict())
    disturbed, plain = make_update(network), make_update(twin)
    for seed in range(3):
        take_step(network, disturbed, seed)
        take_step(network, disturbed, 7, factor=torch.nan)
        take_step(twin, plain, seed)
    for (name, own), other in zip(
        network.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(own, other), name


@pytest.mark.parametrize("where", ["loss", "outputs"])
def test_non_finite_loss_or_output_makes_every_gradient_nan(where):
    outputs = torch.ones(2, 3, requires_grad=True)
    non_finite = outputs if where == "loss" else outputs + torch.tensor([[0, 0, torch.inf]] * 2)
    loss = torch.tensor(torch.nan) if where == "loss" else torch.zeros(())
    nan_if_not_finite(loss, non_finite).backward()
    assert outputs.grad.isnan().all()


def test_finite_loss_and_gradients_are_unchanged():
    outputs = torch.arange(6.0).requires_grad_()
    loss = nan_if_not_finite(outputs.square().sum(), outputs)
    loss.backward()
    assert loss == 55
    assert torch.equal(outputs.grad, 2 * torch.arange(6.0))


def test_float16_scale_is_lowered_on_overflow(network):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100, enabled=True)
    update = make_update(network, scaler)
    assert take_step(network, update, 0, factor=1e20)  # overflows float32 once scaled
    assert scaler.get_scale() == 2.0**99
    twin_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=True)
    twin = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    twin.load_state_dict(network.state_dict())
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    plain.load_state_dict(network.state_dict())
    assert not take_step(twin, make_update(twin, twin_scaler), 0)
    assert not take_step(plain, make_update(plain), 0)
    for own, other in zip(twin.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)


# ---- accumulation


def seeds_of(frames):
    """Seeds from the colours of a frame, independent of the batch."""
    green = frames[:, 1].long()
    seeds = torch.full_like(green, 255)
    return seeds.masked_fill(green > 140, 1).masked_fill(green < 60, 0).to(torch.uint8)


def gradients_of(stage, batches):
    """Gradients of a step by name, and its losses; batch norm in eval mode.

    The stage's networks should be in float64: in float32 the order of sums changes the sign of
    some activations, and thereby whole gradients.
    """
    seen = {}
    names = {p: name for name, p in stage.model.named_parameters()}
    stage.model.eval()
    if isinstance(stage, LocalizerStage):
        stage.seeding = _FixedSeeds()

    def record():
        seen.update({names[p]: p.grad.clone() for p in stage.update.parameters})
        return torch.tensor(False)

    stage.update.step = record
    step = stage.step(batches, 0.5, 0)
    return seen, {name: float(value) for name, value in step.losses.items()}


class _FixedSeeds:
    def begin(self, step, rank):
        pass

    def maps(self, batch, images, features):
        return batch.images

    def draw(self, maps):
        return seeds_of(maps)


@pytest.fixture
def make_stage(two_epochs, tmp_path):
    def make(kind, *options, dtype=torch.float32):
        argv = [*two_epochs, "--out", str(tmp_path / "run"), "--amp", "off", *options]
        run = open_run(parse_config(argv, cuda=False), ALONE)
        torch.manual_seed(3)
        model = Localizer("resnet18", len(run.data.classes)).to(run.device, dtype)
        return kind(run, model.to(memory_format=torch.channels_last))

    return make


@pytest.mark.parametrize(
    ("kind", "options"),
    [(ClassifierStage, ()), (LocalizerStage, ()), (LocalizerStage, ("--tag-weighting", "weight"))],
)
def test_accumulated_batches_equal_one_larger_batch(make_stage, kind, options):
    sizes = {
        ClassifierStage: ("--classifier-batch-size", 6, 2),
        LocalizerStage: ("--batch-size", 24, 8),
    }
    flag, whole, part = sizes[kind]
    large, small = (
        make_stage(kind, flag, str(n), *options, dtype=torch.float64) for n in (whole, part)
    )
    (joined, *_) = large.loader.epoch(0)
    parts = list(small.loader.epoch(0))[:3]
    assert torch.equal(torch.cat([part.images for part in parts]), joined.images)
    labelled = [Counts.of(seeds_of(p.images), p.sequence, p.num_sequences)[0] for p in parts]
    assert len(set(map(float, labelled))) > 1  # the mean of means differs
    expected, losses = gradients_of(large, [joined])
    got, summed = gradients_of(small, parts)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-6 * float(value.abs().max()))
    assert summed == pytest.approx(losses, rel=1e-6)


def test_step_accumulates_the_configured_number_of_batches(two_epochs, tmp_path, monkeypatch):
    steps = []
    original = LocalizerStage.step

    def step(self, batches, epoch, number):
        steps.append((len(batches), epoch, number))
        return original(self, batches, epoch, number)

    monkeypatch.setattr(LocalizerStage, "step", step)
    argv = [*two_epochs, "--accumulate", "3", "--out", str(tmp_path / "run")]
    assert main(argv) == 0
    assert steps == [(3, 0.0, 0), (1, 0.5, 1), (3, 1.0, 2), (1, 1.5, 3)]


@pytest.mark.parametrize("kind", [ClassifierStage, LocalizerStage])
def test_step_without_a_readable_frame_is_skipped_and_not_counted(make_stage, kind):
    """A single process does not start such a step; one of several takes part in it."""
    stage = make_stage(kind)
    stage.train()
    batch = next(iter(stage.loader.epoch(0)))
    stage.step([batch], 0.5, 0)  # from now on momentum alone moves the weights
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    step = stage.step([replace(batch, blank=True)], 0.5, 1)
    assert bool(step.skipped)
    for name, value in stage.model.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(value, before[name]), name
    seen = StepResult(step, 0, (), batch.names).synchronize()
    progress = Progress()
    assert not progress.add([seen, seen], half=False)
    assert progress == Progress(unreadable=set(batch.names))


# ---- frames that may not show their tag


def test_frames_are_weighted_by_the_probability_of_their_tag(make_stage):
    stage = make_stage(LocalizerStage, "--tag-weighting", "weight")
    stage.train()
    batch = next(iter(stage.loader.epoch(0)))
    with torch.no_grad():
        logits = stage.model.eval()(stage.model.encoder.normalized(batch.images))[0]
    expected = logits.softmax(1)[torch.arange(len(logits)), batch.labels]
    torch.testing.assert_close(stage.prepare(batch).frame_weights, expected)


def test_only_frames_below_the_threshold_are_discarded(make_stage):
    def losses_and_weights(*options):
        stage = make_stage(LocalizerStage, *options)
        stage.train()
        batch = next(iter(stage.loader.epoch(0)))
        step = stage.step([batch], 0.5, 0)
        assert not bool(step.skipped)  # also if no frame counts
        losses = {name: float(value) for name, value in step.losses.items()}
        return losses, stage.prepare(batch).frame_weights

    plain, none = losses_and_weights()
    assert none is None
    _, probabilities = losses_and_weights("--tag-weighting", "weight")
    middle = float(probabilities.median())
    for threshold, same in ((0.0, True), (middle, False), (1.0, False)):
        options = ("--tag-weighting", "discard", "--tag-threshold", str(threshold))
        losses, weights = losses_and_weights(*options)
        assert weights.tolist() == (probabilities >= threshold).float().tolist()
        assert (losses == plain) == same
    assert {losses[name] for name in ("pl", "crf", "asc", "coloc", "total")} == {0.0}


# ---- skipped steps of a run


@pytest.fixture
def non_finite(monkeypatch):
    """Makes the maps of the given calls of stage 2 non-finite."""

    def make(calls):
        original, count = LocalizerStage.maps, 0

        def maps(self, one):
            nonlocal count
            count += 1
            found = original(self, one)
            if count in calls:
                found = torch.cat([found[:-1], found[-1:] * torch.nan])
            return found

        monkeypatch.setattr(LocalizerStage, "maps", maps)

    return make


def test_skipped_step_is_counted_and_reported_with_its_frames(
    two_epochs, tmp_path, non_finite, capsys, metrics_of
):
    non_finite({2})
    out = tmp_path / "run"
    assert main([*two_epochs, "--out", str(out)]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    (warning,) = [line for line in printed if "not finite" in line]
    assert warning.startswith("warning: localizer epoch 1: a loss or gradient was not finite")
    assert warning.count(" frame ") == 8
    localizer = [line for line in metrics_of(out) if line["stage"] == "localizer"]
    assert [line["skipped_steps"] for line in localizer] == [1, 0]
    assert all(torch.tensor(line["total"]).isfinite() for line in localizer)
    weights = load_file(out / "checkpoints" / "localizer-last.safetensors")
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def test_run_stops_after_too_many_skips_and_names_the_last_state(
    two_epochs, tmp_path, non_finite, capsys
):
    non_finite({5, 6, 7})
    out = tmp_path / "run"
    argv = [*two_epochs, "--stop-after-skips", "3", "--out", str(out)]
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: localizer: 3 steps in a row had a loss or gradient")
    state = out / "checkpoints" / "state-localizer-0001-000000.safetensors"
    assert str(state) in line
    assert state.is_file()


def test_single_skipped_steps_do_not_stop_a_run(two_epochs, tmp_path, non_finite, metrics_of):
    non_finite({1, 2, 4, 5, 7, 8})
    out = tmp_path / "run"
    assert main([*two_epochs, "--stop-after-skips", "3", "--out", str(out)]) == 0
    localizer = [line for line in metrics_of(out) if line["stage"] == "localizer"]
    assert [line["skipped_steps"] for line in localizer] == [3, 3]


# ---- precision, compilation, synchronization


@pytest.mark.parametrize("amp", ["bf16", "fp16", "off"])
def test_every_precision_trains(tiny_run, tmp_path, amp, metrics_of):
    small = ["--resize", "36", "--crop", "32"]  # float16 is slow on a CPU
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--amp", amp, *small]
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    lines = metrics_of(tmp_path / "run")
    assert [line["stage"] for line in lines] == ["classifier", "localizer"]
    state = next((tmp_path / "run" / "checkpoints").glob("state-localizer-*"))
    with safe_open(state, "pt") as file:
        scaler = json.loads(file.metadata()["state"])["optimizer"]["scaler"]
    assert bool(scaler) == (amp == "fp16")


@pytest.fixture
def graphs(monkeypatch):
    """Numbers of the graphs that were made, and of those that were run.

    With torch.compile's guards but without a compiler.
    """
    from colocam.training import compilation

    made, ran = [], []

    def backend(graph, inputs):
        number = len(made)
        made.append(graph)

        def run(*arguments):
            ran.append(number)
            return graph(*arguments)

        return run

    compile_function = torch.compile
    monkeypatch.setattr(
        compilation.torch,
        "compile",
        lambda function, **how: compile_function(function, backend=backend, **how),
    )
    torch._dynamo.reset()
    return made, ran


def test_a_run_makes_at_most_six_graphs_all_in_the_first_epochs(
    graphs, two_epochs, tmp_path, monkeypatch
):
    """One each of classifier, frozen encoder, decoder and losses, and two of validation."""
    from colocam.training.loop import Loop

    made, _ = graphs
    end_epoch, counts = Loop._end_epoch, []

    def count(self):
        end_epoch(self)
        counts.append((self.stage.name, len(made)))

    monkeypatch.setattr(Loop, "_end_epoch", count)
    argv = [*two_epochs, "--epochs", "3", "--coloc-ramp", "3", "--compile", "on"]
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    of_stage = {name: [n for own, n in counts if own == name] for name, _ in counts}
    assert {name: len(set(numbers)) for name, numbers in of_stage.items()} == {
        "classifier": 1,
        "localizer": 1,
    }
    assert 0 < of_stage["classifier"][0] < of_stage["localizer"][0] <= 6


def test_copies_of_a_compiled_module_and_its_forward_are_not_compiled(graphs):
    from colocam.training.compilation import compile_full_batches

    made, ran = graphs
    module = nn.Linear(4, 4)
    compile_full_batches(module, {8})
    inputs = torch.randn(8, 4)
    module(inputs)
    assert ran == [0]
    copied = copy.deepcopy(module)
    with torch.no_grad():
        copied.weight.zero_()
    assert torch.equal(copied(inputs), copied.bias.expand(8, 4))
    module.forward(inputs)
    assert (len(made), ran) == (1, [0])


def test_short_batches_do_not_replace_the_graph_of_full_ones(graphs):
    from colocam.training.compilation import compile_full_batches

    made, ran = graphs
    module = nn.Linear(4, 4)
    compile_full_batches(module, {8})
    for size in (8, 5, 8, 3, 8):
        inputs = torch.randn(size, 4)
        torch.testing.assert_close(module(inputs), F.linear(inputs, module.weight, module.bias))
    assert len(made) == 1
    assert ran == [0, 0, 0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU is asynchronous")
@pytest.mark.parametrize("kind", [ClassifierStage, LocalizerStage])
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_step_does_not_synchronize_with_the_gpu(make_stage, kind, amp):
    stage = make_stage(kind, "--device", "cuda", "--amp", amp)
    stage.train()
    batches = list(stage.loader.epoch(0))
    for number in range(3):
        stage.step(batches[:1], 0.5, number)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step = stage.step(batches[:1], 0.5, 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not bool(step.skipped)
