"""bench/gpu_wait.py names the place where the host waits for the GPU."""

import pytest
import torch

from lib.gpu_wait import first_wait

from colocam.data.loading.transforms import normalized


def test_where_the_host_waits_for_the_gpu_is_named(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    class Waits:
        device = torch.device("cpu")

        def float(self):
            raise RuntimeError("called a synchronizing CUDA operation")

    found = first_wait(lambda: normalized(Waits()))
    assert found.startswith("transforms.py:")
    assert found.endswith(", normalized")
    assert first_wait(lambda: None) is None

    def broken():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        first_wait(broken)
    assert modes == ["error", "default"] * 3
