"""bench/lib/synchronization.py: the line that synchronizes with the GPU is reported."""

import pytest
import torch

from lib import ROOT
from lib.synchronization import first_synchronization

from colocam.kernels import gaussian_filter
from colocam.models.base import Encoder


@pytest.fixture
def modes(monkeypatch):
    """Sync debug modes that are set, in order."""
    modes = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    return modes


def raise_synchronizing(*_, **__):
    raise RuntimeError("called a synchronizing CUDA operation")


def test_first_synchronizing_line_is_reported(modes):
    class Synchronizing:
        device = torch.device("cpu")
        float = raise_synchronizing

    found = first_synchronization(lambda: Encoder().normalized(Synchronizing()))
    assert found.startswith("base.py:")
    assert found.endswith(", normalized")
    assert first_synchronization(lambda: None) is None

    def broken():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        first_synchronization(broken)
    assert modes == ["error", "default"] * 3


def test_line_within_the_kernels_is_reported(modes, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "max", raise_synchronizing)
    values, features, group = torch.ones(4, 1), torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)
    found = first_synchronization(lambda: gaussian_filter(values, features, group))
    assert list((ROOT / "kernels").rglob(found.split(":")[0]))
