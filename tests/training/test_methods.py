"""Every method of the papers trains and evaluates by one command, on the device."""

import json
import shutil
import warnings
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from colocam.cam import ActivationMap
from colocam.cli.evaluate import main as evaluate
from colocam.cli.options import parse_config
from colocam.cli.train import main as train
from colocam.data.loading.loader import SequenceBatch
from colocam.models import Localizer
from colocam.models.checkpoint import load_checkpoint, save_checkpoint
from colocam.training.localizer import LocalizerStage
from colocam.training.localizer.seeding import Seeding

CAMS = ("cam", "gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def localizer_stage(tiny_run, tmp_path):
    """Runs stage 2 on the tiny run's classifier with more options; returns the run folder."""

    def run(*options):
        out = tmp_path / "run"
        shutil.copytree(tiny_run.out, out, dirs_exist_ok=True)
        argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
        argv += ["--stage", "localizer", "--overwrite"]
        assert train([*argv, *map(str, options)]) == 0
        return out

    return run


def summary(out):
    return json.loads((out / "report" / "evaluation.json").read_text())


def losses(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == "localizer"][-1]


@pytest.mark.parametrize("cam", CAMS)
def test_every_cam_makes_seeds_and_the_baseline(localizer_stage, cam):
    out = localizer_stage("--cam", cam)
    _, info = load_checkpoint(out / "checkpoints" / "localizer-best.safetensors")
    assert (info.cam, info.cam_layer) == (cam, "last")
    assert np.isfinite(losses(out)["pl"])
    assert summary(out)["baseline"]["corloc"]["0.5"] >= 0


def test_cam_of_an_inner_layer_makes_other_seeds(localizer_stage):
    inner = losses(localizer_stage("--cam", "gradcam++", "--cam-layer", "layer3"))
    last = losses(localizer_stage("--cam", "gradcam++"))
    assert inner["pl"] != last["pl"]


@pytest.mark.parametrize(("method", "terms"), [("colocam", 4), ("tcam", 3), ("fcam", 3)])
def test_method_has_its_terms(localizer_stage, method, terms):
    line = losses(localizer_stage("--method", method))
    values = [line.get(term, 0.0) for term in ("pl", "crf", "asc", "coloc")]
    assert all(np.isfinite(values))
    assert sum(value != 0 for value in values) == terms


@pytest.mark.parametrize(("method", "frames"), [("tcam", 3), ("tcam", 2), ("fcam", 3)])
def test_batch_size_counts_the_frames_trained_on(localizer_stage, monkeypatch, method, frames):
    trained, reported = [], []
    maps, step = LocalizerStage.maps, LocalizerStage.step

    def counted(stage, one):
        trained.append(len(one.images))
        return maps(stage, one)

    def watched(*args):
        result = step(*args)
        reported.append(result.frames)
        return result

    monkeypatch.setattr(LocalizerStage, "maps", counted)
    monkeypatch.setattr(LocalizerStage, "step", watched)
    localizer_stage("--method", method, "--frames", frames, "--batch-size", 3, "--epochs", 1)
    assert max(trained) == 3
    assert reported == trained


@pytest.mark.parametrize("encoder", ["resnet50", "vgg16", "inceptionv3"])
def test_every_encoder_trains_in_both_stages(tiny_run, tmp_path, encoder):
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(tmp_path / "run")]
    sizes = ("--resize", "36", "--crop", "32")
    assert train([*argv, *sizes, "--encoder", encoder]) == 0
    assert load_checkpoint(tmp_path / "run/checkpoints/localizer-best.safetensors")[1].encoder == (
        encoder
    )


@pytest.mark.parametrize("pooling", ["gap", "max", "lse"])
def test_pooling_is_trained_and_stored(tiny_run, tmp_path, pooling):
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(tmp_path / "run")]
    assert train([*argv, "--stage", "classifier", "--pooling", pooling]) == 0
    path = tmp_path / "run/checkpoints/classifier-best-classification.safetensors"
    assert load_checkpoint(path)[0].head.pooling == pooling
    assert train([*argv, "--stage", "localizer"]) == 0


def test_second_classifier_makes_the_seeds(localizer_stage, tiny_run, tmp_path):
    """Another head changes the seeds; encoder and head of the localizer are of the first."""
    one = losses(localizer_stage("--classifier", "classification"))
    path = tmp_path / "run" / "checkpoints" / "classifier-best-localization.safetensors"
    teacher, info = load_checkpoint(path)
    torch.manual_seed(0)
    torch.nn.init.normal_(teacher.head.weight)
    save_checkpoint(path, teacher, info)
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(tmp_path / "run")]
    argv += ["--stage", "localizer", "--overwrite"]
    assert train([*argv, "--classifier", "both"]) == 0
    assert losses(tmp_path / "run")["pl"] != one["pl"]
    best, _ = load_checkpoint(tmp_path / "run/checkpoints/localizer-best.safetensors")
    first, _ = load_checkpoint(
        tmp_path / "run/checkpoints/classifier-best-classification.safetensors"
    )
    assert torch.equal(best.head.weight, first.head.weight)


def test_stored_maps_train_a_decoder(localizer_stage, tiny_run, tmp_path):
    """Stored score maps of a localizer make other seeds than CAMs."""
    argv = ["--ckpt", tiny_run.checkpoint("localizer-best"), "--data", tiny_run.data]
    folder = tmp_path / "maps"
    assert evaluate([*map(str, argv), "--split", "train", "--save-maps", str(folder)]) == 0
    frames = sum(1 for _ in tiny_run.data.glob("*/data/*/shots/*/*.jpg"))
    stored = list(folder.rglob("*.npy"))
    assert 0 < len(stored) < frames  # training shots only
    assert np.load(stored[0]).ndim == 2
    with_maps = losses(localizer_stage("--seed-maps", folder))
    assert np.isfinite(with_maps["pl"])
    assert with_maps["pl"] != losses(localizer_stage())["pl"]


def test_evaluation_stores_maps_of_the_evaluated_frames(tiny_run, tmp_path):
    argv = ["--ckpt", tiny_run.checkpoint("classifier-best-classification")]
    argv += ["--data", tiny_run.data, "--save-maps", tmp_path / "maps", "--json", tmp_path / "e"]
    assert evaluate([str(word) for word in argv]) == 0
    frames = json.loads((tmp_path / "e").read_text())["frames"]
    assert len(list((tmp_path / "maps").rglob("*.npy"))) == frames


# ---- mistakes


@pytest.fixture
def refused(tiny_run, tmp_path, capsys):
    """Runs stage 2 with options that end it with one line, which is returned; no file changes."""

    def run(*options):
        out = tmp_path / "run"
        shutil.copytree(tiny_run.out, out)
        before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
        capsys.readouterr()
        argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
        assert train([*argv, "--stage", "localizer", "--overwrite", *map(str, options)]) == 2
        assert before == {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
        message = capsys.readouterr().err.strip()
        assert message.startswith("error: ")
        assert "\n" not in message
        return message

    return run


def test_unknown_layer_is_named(refused):
    message = refused("--cam-layer", "layer9")
    assert "--cam-layer" in message
    assert "layer9" in message
    assert "layer4" in message


def test_cam_at_an_inner_layer_is_refused(refused):
    assert "last map only" in refused("--cam", "cam", "--cam-layer", "layer3")


def test_missing_folder_of_maps_is_named(refused, tmp_path):
    assert "no such folder of seed maps" in refused("--seed-maps", tmp_path / "none")


def test_folder_without_a_frames_map_is_named(refused, tmp_path):
    (tmp_path / "maps").mkdir()
    message = refused("--seed-maps", tmp_path / "maps")
    assert "no map for" in message
    assert ".npy" in message


def test_tcam_with_another_sampling_is_refused(refused):
    assert "--method tcam" in refused("--method", "tcam", "--sampling", "interval")


@pytest.mark.parametrize(
    "option", [("--method", "x"), ("--cam", "x"), ("--encoder", "x"), ("--pooling", "x")]
)
def test_unknown_name_is_one_line_and_status_2(option, capsys):
    assert train(["--preset", "smoke", *option]) == 2
    message = capsys.readouterr().err.strip()
    assert option[0] in message
    assert "'x'" in message
    assert "\n" not in message


def test_training_frames_are_not_evaluated(tiny_run, capsys):
    argv = ["--ckpt", str(tiny_run.checkpoint("localizer-best")), "--data", str(tiny_run.data)]
    assert evaluate([*argv, "--split", "train"]) == 2
    assert "--save-maps" in capsys.readouterr().err


# ---- on the device


class Operations(TorchDispatchMode):
    """Counts operations."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


def operations(batch_size, options):
    """Operations that draw the seeds of a batch, on fake tensors of a GPU.

    Fake tensors have a device and no data: reading data or changing the device raises.
    """
    config = parse_config(["--preset", "smoke", "--crop", "64", *options], cuda=False)
    run = SimpleNamespace(
        config=config,
        device=torch.device("cpu"),
        autocast=lambda: torch.autocast("cuda", enabled=False),
    )
    with FakeTensorMode(), torch.device("cuda"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # autocast without a GPU
        model = Localizer("resnet18", 4, pooling=config.pooling).eval()
        seeding = Seeding(run, model, None)
        seeding.generator = seeding.cam.generator = None  # it would need a real device
        labels = torch.zeros(batch_size, dtype=torch.long)
        anchors = torch.zeros(2, dtype=torch.long)
        images = torch.empty(batch_size, 3, 64, 64)
        names = ("",) * batch_size
        batch = SequenceBatch(images, labels, labels, 2, anchors, None, names, ())
        features = model.encoder(images)
        with Operations() as counted:
            seeds = seeding.draw(seeding.maps(batch, images, features))
    assert seeds.device.type == "cuda"
    return counted.counts


@pytest.mark.parametrize(
    "options",
    [
        *[("--cam", cam) for cam in CAMS],
        ("--cam", "layercam", "--pooling", "lse"),
        ("--method", "tcam"),
        ("--seed-scheme", "text"),
        ("--seed-region", "densest", "--seed-box", "off"),
        ("--seed-region", "all"),
        ("--seed-region", "none"),
    ],
)
def test_seeds_stay_on_the_device_without_a_loop_over_images(options):
    assert operations(4, options) == operations(9, options)


@pytest.mark.parametrize("cam", [cam for cam in CAMS if cam != "cam"])
def test_inner_layers_need_one_backward_pass_per_batch(cam):
    counts = []
    for batch_size in (3, 7):
        model = Localizer("resnet18", 4).eval()
        maps = ActivationMap(model, cam, "layer3")
        images, labels = torch.randn(batch_size, 3, 32, 32), torch.arange(batch_size) % 4
        with Operations() as counted:
            maps(images, labels)
        counts.append(counted.counts)
    assert counts[0] == counts[1]
    reads = sum(count for name, count in counts[0].items() if "_local_scalar" in name)
    assert reads <= 2  # the range of the classes, on the CPU only
