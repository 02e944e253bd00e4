"""bench/lib/crf/peers.py: other packages compute the same filter."""

import importlib.util

import pytest
import torch

from lib.crf import peers
from lib.crf.terms import make_term

CPU = torch.device("cpu")


def test_skipped_package_has_a_reason(monkeypatch):
    assert "on a GPU only" in peers.why_skipped("keops", CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert '".[peers]"' in peers.why_skipped("pydensecrf2", CPU)


@pytest.mark.skipif(
    importlib.util.find_spec("pydensecrf") is None, reason="pydensecrf2 is not installed"
)
@pytest.mark.parametrize("name", ["joint", "spatial"])
def test_pydensecrf2_filters_like_the_published_lattice(name):
    ramp = torch.arange(48)
    image = torch.stack([5 * ramp.expand(48, 48), 4 * ramp[:, None].expand(48, 48)])
    image = torch.cat([image, image.sum(0, keepdim=True) // 2]).to(torch.uint8)
    term = make_term(name, torch.stack([image, image.flip(1)]), CPU, torch.float32)
    own = term.by_group(term.filtered("permutohedral-published")).double()
    other = peers.PyDenseCrf(term).filtered()
    # not identical: pydensecrf2 blurs the axes in one order, not in both
    assert (other - own).norm() < 0.05 * own.norm()
    assert other.sum() == pytest.approx(own.sum().item(), rel=0.01)
