"""Device, mixed precision, seeds."""

import random

import numpy as np
import pytest
import torch

from colocam.runtime import device as device_module
from colocam.runtime.device import make_autocast, pick_device, seed_everything
from colocam.runtime.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def gpus(monkeypatch):
    """Simulates a machine with or without a GPU, and with or without bfloat16."""

    def simulate(cuda=False, bfloat16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(device_module, "_computes_in_bfloat16", lambda device: bfloat16)

    return simulate


def test_auto_is_the_gpu_of_this_process_if_there_is_one(gpus):
    gpus(cuda=True)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 0)
    assert pick_device("auto", 3) == pick_device("cuda", 3) == torch.device("cuda", 3)
    assert pick_device("cpu", 3) == CPU
    gpus(cuda=False)
    assert pick_device("auto", 3) == pick_device("cpu") == CPU


def test_error_of_a_missing_gpu_names_the_flag(gpus):
    gpus(cuda=False)
    with pytest.raises(UserError, match="--device cuda: no CUDA device"):
        pick_device("cuda")


@pytest.mark.parametrize(
    ("amp", "device", "bfloat16", "dtype"),
    [
        ("off", "cpu", True, torch.float32),
        ("off", "cuda", True, torch.float32),
        ("bf16", "cpu", False, torch.bfloat16),
        ("bf16", "cuda", False, torch.bfloat16),
        ("fp16", "cpu", True, torch.float16),
        ("fp16", "cuda", True, torch.float16),
        ("auto", "cpu", True, torch.bfloat16),
        ("auto", "cpu", False, torch.float32),
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, torch.float16),
    ],
)
def test_precision_depends_on_name_and_hardware(gpus, amp, device, bfloat16, dtype):
    gpus(bfloat16=bfloat16)
    autocast = make_autocast(amp, torch.device(device))
    assert (autocast.device.type, autocast.dtype) == (device, dtype)


@pytest.mark.parametrize(
    ("amp", "dtype"),
    [("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_matrix_products_have_the_precision_within_the_context_only(amp, dtype):
    autocast = make_autocast(amp, CPU)
    one = torch.ones(2, 2)
    for _ in range(2):  # a context each time
        with autocast():
            assert (one @ one).dtype == dtype
            assert one.softmax(1).dtype == torch.float32
        assert (one @ one).dtype == torch.float32


@pytest.mark.parametrize(
    ("amx", "avx512", "faster", "bfloat16"),
    [
        (True, True, False, True),
        (False, True, True, True),
        (False, True, False, False),
        (False, False, True, False),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_that_is_faster(
    monkeypatch, amx, avx512, faster, bfloat16
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(device_module, "_bfloat16_is_faster", lambda: faster)
    expected = torch.bfloat16 if bfloat16 else torch.float32
    assert make_autocast("auto", CPU).dtype == expected


def test_the_faster_precision_stays_the_same():
    assert len({device_module._bfloat16_is_faster.__wrapped__() for _ in range(5)}) == 1


def test_off_disables_an_outer_autocast():
    with make_autocast("bf16", CPU)(), make_autocast("off", CPU)():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("amp", "enabled"), [("off", False), ("bf16", False), ("fp16", True)])
def test_only_float16_scales_the_loss(amp, enabled):
    scaler = make_autocast(amp, CPU).scaler()
    assert scaler.is_enabled() == enabled
    loss = torch.tensor(2.0, requires_grad=True)
    assert (scaler.scale(loss) > loss) == enabled
    assert (scaler.scale(loss) == loss) == (not enabled)


def test_seed_sets_every_global_generator():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_everything(3)
    first = draw()
    assert draw() != first
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
    seed_everything(2**32 + 5)  # larger than NumPy accepts
    assert all(a != b for a, b in zip(draw(), first, strict=True))
