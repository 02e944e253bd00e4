"""Errors of the CRF filter on a small crop, against every pair of pixels in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.crf.peers import PEERS
from lib.crf.terms import CrfTerm, make_term

FRAMES, SIZE = 2, 64  # few enough for every pair


@dataclass(frozen=True)
class Errors:
    """Relative L2 errors in %: of the filtered maps, and of the energies of all groups."""

    filtered: float
    energy: float


@dataclass(frozen=True)
class Reference:
    """A term on the middle of a few frames, and its exact result.

    Attributes:
        term: in float32, for the methods to be compared.
        values: (G, P, 2) float64, on the CPU as all that follows.
        filtered: (G, P, 2) float64.
        energy: (G,) float64.
    """

    term: CrfTerm
    values: Tensor
    filtered: Tensor
    energy: Tensor

    def errors(self, method: str) -> Errors:
        """Of a method of `colocam.kernels`, or of a peer (whose energy is made from the maps)."""
        if method in PEERS:
            filtered = PEERS[method](self.term).filtered().to(torch.float64)
            energy = energy_of(self.values, filtered)
        else:
            filtered = self.term.by_group(self.term.filtered(method)).cpu()
            energy = self.term.energy(method).detach().cpu()
        return Errors(relative_error(filtered, self.filtered), relative_error(energy, self.energy))


def make_reference(name: str, images: Tensor, device: torch.device) -> Reference:
    """Of the term `name` on images (n, 3, H, W) uint8: the middle, at most 64×64, of all n."""
    first = max(0, (images.shape[-1] - SIZE) // 2)
    images = images[:, :, first : first + SIZE, first : first + SIZE]
    exact = make_term(name, images, device, torch.float64)
    values = exact.values().cpu()
    filtered = exact.by_group(exact.filtered("dense")).cpu()
    term = make_term(name, images, device, torch.float32)
    return Reference(term, values, filtered, energy_of(values, filtered))


def energy_of(values: Tensor, filtered: Tensor) -> Tensor:
    """The association of maps and filtered maps, (G, P, 2) both: (G,)."""
    return -(values * filtered).sum((1, 2))


def relative_error(found: Tensor, exact: Tensor) -> float:
    """|found - exact| / |exact| in the L2 norm, in %."""
    difference = found.to(torch.float64) - exact
    return 100 * float(torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(exact))
