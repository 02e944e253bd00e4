"""The same filter by other packages: pydensecrf2 on the CPU, KeOps on a GPU.

Their inputs (features in units of sigma and probabilities, in the layout each requires) are
computed outside the measurement; `colocam.kernels.crf_energy` computes features inside it. Both are
timed for one filtering of two channels, from which energy and gradient follow by a product.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from lib.crf.terms import CrfTerm

KEOPS_PAIRS = (4 * 224 * 224) ** 2  # all pairs are computed: more would take too long


class Peer(Protocol):
    """Filter of another package for one term.

    Attributes:
        module: module of the package.
        device: where it computes: "cpu" or "cuda".
    """

    module: ClassVar[str]
    device: ClassVar[str]

    def __init__(self, term: CrfTerm) -> None: ...

    @staticmethod
    def supports(term: CrfTerm) -> bool:
        """Whether a term of this size is measured."""
        ...

    def make_work(self) -> Callable[[], object]:
        """Prepares one repeat (see `lib.timing`)."""
        ...

    def filtered(self) -> Tensor:
        """Filtered values: (G, P, 2) on the CPU."""
        ...


class PyDenseCrf:
    """pydensecrf2: lattice in C++, single-threaded; one lattice per frame for the spatial term.

    Timed are `addPairwiseEnergy` (builds the lattice, and filters ones for a norm that
    NO_NORMALIZATION does not use; its users pay for that too) and one `stepInference` (filters two
    channels and applies a softmax). Not timed: construction of `DenseCRF`, unary energies and the
    first softmax.
    """

    module: ClassVar[str] = "pydensecrf"
    device: ClassVar[str] = "cpu"

    def __init__(self, term: CrfTerm) -> None:
        self.features = [
            np.ascontiguousarray(features.T) for features in term.features().cpu().numpy()
        ]
        probs = term.values().to("cpu", torch.float32)
        self.unary = [np.ascontiguousarray(-np.log(p.T)) for p in probs.numpy()]

    @staticmethod
    def supports(term: CrfTerm) -> bool:
        """True for every size."""
        return True

    def make_work(self) -> Callable[[], list[object]]:
        """Creates new lattices: a second pairwise energy would be added to the first."""
        from pydensecrf import densecrf, eigen

        prepared = []
        for unary in self.unary:
            crf = densecrf.DenseCRF(unary.shape[1], unary.shape[0])
            crf.setUnaryEnergy(unary)
            q, total, _ = crf.startInference()  # q: probabilities
            added = eigen.matrixXf(np.zeros_like(unary))  # the returned one cannot be read
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
        """Pairwise energy of one step; its Potts weight of 1 has a negative sign."""
        added = [np.array(step, dtype=np.float64) for step in self.make_work()()]
        return torch.from_numpy(np.stack([-values.T for values in added]))


class KeOps:
    """KeOps: all pairs of pixels on the GPU, in one compiled reduction."""

    module: ClassVar[str] = "pykeops"
    device: ClassVar[str] = "cuda"

    def __init__(self, term: CrfTerm) -> None:
        self.features = term.features()
        self.values = term.values().to(torch.float32)

    @staticmethod
    def supports(term: CrfTerm) -> bool:
        """Up to `KEOPS_PAIRS` pairs: four frames of 224×224 in one group, 16 in groups of one."""
        return term.pixels**2 // term.num_groups <= KEOPS_PAIRS

    def make_work(self) -> Callable[[], Tensor]:
        """Creates the reduction; features and values are used in place."""
        from pykeops.torch import LazyTensor

        one, other = LazyTensor(self.features[:, :, None]), LazyTensor(self.features[:, None])
        weights = (-((one - other) ** 2).sum(-1) / 2).exp()
        return lambda: weights @ self.values

    def filtered(self) -> Tensor:
        """Result of the reduction."""
        return self.make_work()().cpu()


PEERS: dict[str, type[Peer]] = {"pydensecrf2": PyDenseCrf, "keops": KeOps}


def why_skipped(name: str, device: torch.device) -> str | None:
    """Why a package is not measured in a run on `device`: one line; None where it is measured."""
    peer = PEERS[name]
    if peer.device == "cuda" and device.type != "cuda":
        return f"{name}: skipped; it is measured on a GPU only"
    if importlib.util.find_spec(peer.module) is None:
        return f'{name}: skipped; not installed; pip install -e ".[peers]"'
    return None
