"""The same filter through other people's packages: pydensecrf2 on the CPU, KeOps on a GPU.

Their inputs (features in units of sigma, probabilities, in the layout each asks for) are made
outside the clock, which `colocam.kernels.crf_energy` does inside it. Both are timed for one
filtering of two channels: energy and gradient follow from that by a product.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from lib.crf.terms import CrfTerm

KEOPS_PAIRS = (4 * 224 * 224) ** 2  # every pair is computed: more than these would take too long


class Peer(Protocol):
    """A package's filter for one term on its frames.

    Attributes:
        module: what is imported.
        device: where it computes: "cpu" or "cuda".
    """

    module: ClassVar[str]
    device: ClassVar[str]

    def __init__(self, term: CrfTerm) -> None: ...

    @staticmethod
    def attempts(term: CrfTerm) -> bool:
        """Whether it is tried at this size."""
        ...

    def fresh(self) -> Callable[[], object]:
        """Work to be timed once (see timing.py)."""
        ...

    def filtered(self) -> Tensor:
        """Filtered values: (G, P, 2) on the CPU."""
        ...


class PyDenseCrf:
    """The C++ lattice that most people use, one thread; for the spatial term a lattice a frame.

    Timed are `addPairwiseEnergy` (the lattice is set up, and ones are filtered once for a norm
    that NO_NORMALIZATION does not use: its user pays that too) and one `stepInference` (filters
    the two channels, then a softmax over them). Making the `DenseCRF`, its unary energies and the
    first softmax is not timed.
    """

    module = "pydensecrf"
    device = "cpu"

    def __init__(self, term: CrfTerm) -> None:
        self.features = [
            np.ascontiguousarray(features.T) for features in term.features().cpu().numpy()
        ]
        probs = term.values().to("cpu", torch.float32)
        self.unary = [np.ascontiguousarray(-np.log(p.T)) for p in probs.numpy()]

    @staticmethod
    def attempts(term: CrfTerm) -> bool:
        """At every size."""
        return True

    def fresh(self) -> Callable[[], list[object]]:
        """New lattices each time: a second pairwise energy would be added to the first."""
        from pydensecrf import densecrf, eigen

        prepared = []
        for unary in self.unary:
            crf = densecrf.DenseCRF(unary.shape[1], unary.shape[0])
            crf.setUnaryEnergy(unary)
            q, total, _ = crf.startInference()  # q is the probabilities
            added = eigen.matrixXf(np.zeros_like(unary))  # its own third one cannot be read back
            prepared.append((crf, q, total, added))

        def work() -> list[object]:
            for features, (crf, q, total, added) in zip(self.features, prepared, strict=True):
                crf.addPairwiseEnergy(
                    features,
                    compat=1.0,
                    kernel=densecrf.DIAG_KERNEL,
                    normalization=densecrf.NO_NORMALIZATION,
                )
                crf.stepInference(q, total, added)
            return [added for _, _, _, added in prepared]

        return work

    def filtered(self) -> Tensor:
        """The step's pairwise energy, whose Potts weight of 1 comes with a minus sign."""
        added = [np.array(step, dtype=np.float64) for step in self.fresh()()]
        return torch.from_numpy(np.stack([-values.T for values in added]))


class KeOps:
    """Every pair of pixels on the GPU, in one compiled reduction."""

    module = "pykeops"
    device = "cuda"

    def __init__(self, term: CrfTerm) -> None:
        self.features = term.features()
        self.values = term.values().to(torch.float32)

    @staticmethod
    def attempts(term: CrfTerm) -> bool:
        """Up to so many pairs: four frames of 224x224 joined, sixteen apart."""
        return term.pixels**2 // term.num_groups <= KEOPS_PAIRS

    def fresh(self) -> Callable[[], Tensor]:
        """The reduction; features and values are used as they lie."""
        from pykeops.torch import LazyTensor

        one, other = LazyTensor(self.features[:, :, None]), LazyTensor(self.features[:, None])
        weights = (-((one - other) ** 2).sum(-1) / 2).exp()
        return lambda: weights @ self.values

    def filtered(self) -> Tensor:
        """Straight from the reduction."""
        return self.fresh()().cpu()


PEERS: dict[str, type[Peer]] = {"pydensecrf2": PyDenseCrf, "keops": KeOps}


def missing(name: str, device: torch.device) -> str | None:
    """Why a peer is not measured in a run on `device`: a line for the user; None where it is."""
    peer = PEERS[name]
    if peer.device == "cuda" and device.type != "cuda":
        return f"{name}: left out; it is measured on a GPU only"
    if importlib.util.find_spec(peer.module) is None:
        return f'{name}: left out; pip install -e ".[peers]" brings it'
    return None
