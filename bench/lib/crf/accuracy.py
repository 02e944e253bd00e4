"""Accuracy of the CRF filter on a small crop, relative to the sum over all pairs in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.crf.peers import PEERS
from lib.crf.terms import CrfTerm, make_term

FRAMES, SIZE = 2, 64  # small enough for all pairs


@dataclass(frozen=True)
class Errors:
    """Relative L2 errors in %.

    Attributes:
        filtered: of the filtered maps.
        energy: of the energies of all groups.
    """

    filtered: float
    energy: float


@dataclass(frozen=True)
class Reference:
    """A term on a crop of a few frames, and its exact result on the CPU.

    Attributes:
        term: in float32, input of the methods under test.
        values: (G, P, 2) float64.
        filtered: (G, P, 2) float64.
        energy: (G,) float64.
    """

    term: CrfTerm
    values: Tensor
    filtered: Tensor
    energy: Tensor

    def errors(self, method: str) -> Errors:
        """Errors of a method of `colocam.kernels` or of another package.

        The energy of another package is computed from its filtered maps.
        """
        if method in PEERS:
            filtered = PEERS[method](self.term).filtered().to(torch.float64)
            energy = energy_of(self.values, filtered)
        else:
            filtered = self.term.by_group(self.term.filtered(method)).cpu()
            energy = self.term.energy(method).detach().cpu()
        return Errors(relative_error(filtered, self.filtered), relative_error(energy, self.energy))


def make_reference(name: str, images: Tensor, device: torch.device) -> Reference:
    """Computes a reference on the centre, at most 64×64, of every image.

    Args:
        name: of the term, "joint" or "spatial".
        images: (n, 3, H, W) uint8.
        device: where methods are tested.
    """
    first = max(0, (images.shape[-1] - SIZE) // 2)
    images = images[:, :, first : first + SIZE, first : first + SIZE]
    exact = make_term(name, images, device, torch.float64)
    values = exact.values().cpu()
    filtered = exact.by_group(exact.filtered("dense")).cpu()
    term = make_term(name, images, device, torch.float32)
    return Reference(term, values, filtered, energy_of(values, filtered))


def energy_of(values: Tensor, filtered: Tensor) -> Tensor:
    """Association of maps and filtered maps, both (G, P, 2): (G,)."""
    return -(values * filtered).sum((1, 2))


def relative_error(found: Tensor, exact: Tensor) -> float:
    """‖found − exact‖ / ‖exact‖ in %."""
    difference = found.to(torch.float64) - exact
    return 100 * float(torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(exact))
