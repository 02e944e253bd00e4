"""A step of stage 2 through DistributedDataParallel with one process: gloo, and NCCL on a GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from colocam.cli.options import parse_config
from colocam.data.loading.seed_maps import SeedMaps
from colocam.models import Localizer
from colocam.runtime.distribution import ALONE
from colocam.training.localizer import make_localizer_stage
from colocam.training.run import open_run

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(params=["gloo", pytest.param("nccl", marks=ON_GPU)])
def device(request, tmp_path):
    """Device of a process group of one process."""
    dist.init_process_group(
        request.param, init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    yield "cuda" if request.param == "nccl" else "cpu"
    dist.destroy_process_group()


def weights_after_a_step(arguments, parallel):
    """The trained weights after one step on the first batch."""
    run = open_run(parse_config(arguments, cuda=False), ALONE)
    torch.manual_seed(3)
    model = Localizer("resnet18", len(run.data.classes))
    stage = make_localizer_stage(run, model.to(run.device, memory_format=torch.channels_last))
    if parallel:
        stage.network = DistributedDataParallel(stage.network)
    stage.train()
    torch.manual_seed(5)
    batch = next(iter(stage.loader.epoch(0)))
    if run.config.seed_maps is not None:
        batch = replace(batch, maps=batch.images[:, 1].float() / 255)
    before = [weight.detach().clone() for weight in stage.update.parameters]
    step = stage.step([batch], 0.5, 0)
    assert not bool(step.skipped)
    after = [weight.detach() for weight in stage.update.parameters]
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    return after


@pytest.mark.parametrize("method", ["colocam", "trcam"])
def test_a_parallel_step_moves_the_weights_as_a_step_alone_does(
    device, two_epochs, tmp_path, method, monkeypatch
):
    arguments = [*two_epochs, "--device", device, "--amp", "off", "--out", str(tmp_path / "run")]
    if method == "trcam":
        arguments += ["--method", method, "--seed-maps", "maps"]
        monkeypatch.setattr(SeedMaps, "check", lambda *_: None)
        monkeypatch.setattr(SeedMaps, "read", lambda *_: np.zeros((4, 4), np.float32))
    alone = weights_after_a_step(arguments, parallel=False)
    parallel = weights_after_a_step(arguments, parallel=True)
    for one, other in zip(alone, parallel, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
