"""Takes training steps with every tensor on a GPU that is not there; see test_steps.

    python steps.py FAKE_GPU RESULTS

FAKE_GPU is the folder of fake_gpu.py, whose tensors have shape, type and device but no data.
Writes a JSON object: per configuration what made the GPU wait for the host, or mixed devices, in a
step that is not the first. The configuration "waiting" has a blocking copy on purpose.
"""

import importlib
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from rich.console import Console

import colocam
import colocam.kernels
from colocam.cli.options import parse_config
from colocam.data.loading.loader import DrawnBatch, SequenceBatch
from colocam.data.loading.transforms import Crop
from colocam.data.records import VideoData
from colocam.models import Localizer
from colocam.runtime.device import make_autocast
from colocam.runtime.distribution import ALONE
from colocam.training.classifier.stage import ClassifierStage
from colocam.training.config import Config
from colocam.training.localizer import LocalizerStage, make_localizer_stage
from colocam.training.metrics import Metrics
from colocam.training.run import Run
from colocam.training.update import Update

sys.path.insert(0, sys.argv[1])
fake_gpu = importlib.import_module("fake_gpu")
fake_gpu.without_accelerator()  # starts this process anew, with a library before torch's
fake_gpu.ROOTS += [str(Path(module.__file__).parent) for module in (colocam, colocam.kernels)]
CLASSES = tuple(f"class{number}" for number in range(10))
ALLOWED = {"copy in, non-blocking", "mixed, 0-dim"}  # a 0-dim CPU tensor is read on the host


def configurations() -> Iterator[tuple[str, list[str], bool]]:
    """Stage, options, and whether seeds come from a second classifier."""
    for amp in ("bf16", "fp16", "off"):
        for method in ("colocam", "tcam", "fcam"):
            yield "localizer", ["--amp", amp, "--method", method], False
        yield "localizer", ["--amp", amp, "--method", "trcam", "--seed-maps", "maps"], False
        yield "classifier", ["--amp", amp], False
    for cam in ("cam", "gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam"):
        for layer in ("last", "layer3"):
            if (cam, layer) != ("cam", "layer3"):
                yield "localizer", ["--cam", cam, "--cam-layer", layer], False
    for pooling in ("gap", "max", "lse"):
        yield "localizer", ["--pooling", pooling, "--cam", "smoothgradcam++"], False
        yield "classifier", ["--pooling", pooling], False
    for encoder in ("resnet18", "vgg16", "inceptionv3"):
        yield "localizer", ["--encoder", encoder], False
        yield "classifier", ["--encoder", encoder, "--amp", "fp16"], False
    for layers in ("last", "head"):
        yield "classifier", ["--classifier-layers", layers, "--pooling", "lse"], False
    for options in (
        ["--seed-scheme", "text"], ["--seed-region", "densest", "--seed-box", "off"],
        ["--seed-region", "all"], ["--seed-region", "none"], ["--tag-weighting", "weight"],
        ["--tag-weighting", "discard"], ["--coloc-weighting", "constant"],
        ["--energy-form", "cut"], ["--joint-method", "permutohedral"], ["--joint-method", "dense"],
        ["--spatial-method", "dense"], ["--frames", "1"],
        ["--frames", "18", "--batch-size", "36"], ["--coloc-ramp", "2"], ["--crop", "200"],
        ["--initial-foreground", "0.1"],
        ["--pl-weight", "0", "--crf-weight", "0", "--asc-weight", "0", "--coloc-weight", "0"],
    ):  # fmt: skip
        yield "localizer", options, False
    yield "localizer", ["--cam", "smoothgradcam++", "--pooling", "lse"], True


def make_run(options: Sequence[str], folder: Path) -> Run:
    amp = [] if "--amp" in options else ["--amp", "bf16"]
    config = parse_config(["--preset", "paper", "--compile", "off", *amp, *options], cuda=True)
    data = VideoData(CLASSES, (SimpleNamespace(frames=()),) * 64, (), (), ())  # type: ignore[arg-type]
    gpu = fake_gpu.GPU
    metrics = Metrics(folder / "metrics.jsonl", False)
    autocast = make_autocast(config.amp, gpu)
    return Run(config, data, folder, gpu, autocast, metrics, Console(quiet=True), ALONE)


def drawn_batch(config: Config, stage: str) -> DrawnBatch:
    """A batch on the host, as a loader returns it."""
    frames, total = 1, config.classifier_batch_size
    if stage == "localizer":
        frames = config.sequence_frames
        total = config.batch_size * (frames if config.method == "tcam" else 1)
    count = total // frames
    images = torch.empty(total, config.resize, config.resize, 3, dtype=torch.uint8)
    zeros = torch.zeros(total, dtype=torch.long)
    maps = None if config.seed_maps is None else torch.zeros(total, config.resize, config.resize)
    whole = SequenceBatch(
        images.permute(0, 3, 1, 2), zeros, zeros, count, torch.zeros(count, dtype=torch.long),
        maps, ("",) * total, (),
    )  # fmt: skip
    crops = tuple(Crop(3, 5, config.crop, number % 2 == 0) for number in range(count))
    return DrawnBatch(whole, crops, (frames,) * count)


def on_gpu(config: Config) -> Localizer:
    """A model on the GPU, in channels-last format: `Module.to` cannot move such tensors."""
    model = Localizer(config.encoder, len(CLASSES), None, pooling=config.pooling)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            layout = torch.channels_last if parameter.dim() == 4 else torch.preserve_format
            moved = parameter.detach().to(fake_gpu.GPU, memory_format=layout)
            module._parameters[name] = torch.nn.Parameter(moved, parameter.requires_grad)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(fake_gpu.GPU)
    return model


def waits(stage_name: str, options: Sequence[str], teacher: bool, folder: Path) -> list[str]:
    """What makes the GPU wait, or mixes devices, in the second step of a run."""
    with fake_gpu.pretended_gpu(), fake_gpu.FakeTensorMode():
        run = make_run(options, folder)
        model = on_gpu(run.config)
        stage: ClassifierStage | LocalizerStage
        if stage_name == "classifier":
            stage = ClassifierStage(run, model)
        else:
            stage = make_localizer_stage(run, model, on_gpu(run.config) if teacher else None)
        stage.train()
        drawn = drawn_batch(run.config, stage_name)
        for number in range(2):
            watch = fake_gpu.Watch()
            with watch:
                stage.step([drawn.on(fake_gpu.GPU)], 1.5, number)
    return [" ".join(key[1:]) for key in watch.notes if key[1] not in ALLOWED]


def blocking_begin(update: Update) -> None:
    torch.tensor(0.0, device=fake_gpu.GPU)


def main(path: Path) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = {
            " ".join([stage, *options]): waits(stage, options, teacher, Path(folder))
            for stage, options, teacher in configurations()
        }
        with mock.patch.object(Update, "begin", blocking_begin):
            found["waiting"] = waits("classifier", ["--encoder", "resnet18"], False, Path(folder))
    path.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
