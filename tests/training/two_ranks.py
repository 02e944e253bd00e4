"""Script: started under torchrun by the tests of several processes.

two_ranks.py parts OUT ARGV…   gradients of a step and an evaluation, written below OUT
two_ranks.py train FAULT ARGV… train.py, with a fault of faulty_run.py on rank 1 ("null": none)
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))
import faulty_run
from test_step import gradients_of

from colocam.cam import ActivationMap
from colocam.cli.options import parse_command
from colocam.cli.train import main
from colocam.evaluation.evaluate import evaluate
from colocam.models import Localizer
from colocam.runtime.distribution import join_ranks
from colocam.training import classifier, localizer
from colocam.training.run import open_run

STAGES = {"classifier": classifier.ClassifierStage, "localizer": localizer.LocalizerStage}


def make_model(classes):
    torch.manual_seed(3)
    return Localizer("resnet18", classes).to(memory_format=torch.channels_last)


def write_gradients(run, out, name, kind, blank_rank=None):
    """Gradients of the first batch, of which the rank `blank_rank` could read no frame."""
    stage = kind(run, make_model(len(run.data.classes)).double())
    batch = next(iter(stage.loader.epoch(0)))
    batch = replace(batch, blank=run.ranks.rank == blank_rank)
    gradients, losses = gradients_of(stage, [batch])
    names = sorted(losses)
    means = run.ranks.mean(torch.tensor([losses[name] for name in names], dtype=torch.float64))
    if run.ranks.main:
        tensors = {name: value.contiguous() for name, value in gradients.items()}
        save_file({**tensors, "losses": means}, out / f"{name}.safetensors")


def write_evaluation(run, out):
    model = make_model(len(run.data.classes)).eval()
    result = evaluate(
        model, run.data.val, run.data.classes, side=64, cam=ActivationMap(model), batch_size=3,
        device=torch.device("cpu"), ranks=run.ranks,
    )  # fmt: skip
    both = [part.summary(0.3) for part in (result.localizer, result.seed_cam)]
    (out / f"evaluation-{run.ranks.rank}.json").write_text(json.dumps(both))


def write_parts(out, argv):
    with join_ranks("cpu") as ranks:
        run = open_run(parse_command(argv, cuda=False).config, ranks)
        for name, kind in STAGES.items():
            write_gradients(run, out, name, kind)
            if ranks.world > 1:
                write_gradients(run, out, f"{name}-without-rank-1", kind, blank_rank=1)
            else:  # the part of rank 0 of two, in one process
                short = replace(run, ranks=_FirstOfTwo())
                write_gradients(short, out, f"{name}-without-rank-1", kind)
        write_evaluation(run, out)


class _FirstOfTwo:
    """Ranks of rank 0 of two, without communication."""

    rank, world, main = 0, 2, True

    def mean(self, values):
        return values

    def parallel(self, module):
        return module

    def gathers_gradients(self, module, last):
        return torch.enable_grad()


if __name__ == "__main__":
    torch.set_num_threads(1)
    task, given, *argv = sys.argv[1:]
    if task == "parts":
        write_parts(Path(given), argv)
    else:
        fault = json.loads(given)
        if fault and os.environ["RANK"] == "1":
            faulty_run.install(fault)
        sys.exit(main(argv))
