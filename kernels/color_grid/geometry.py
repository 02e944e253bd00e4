"""Geometry of the colour grid, shared by its implementations.

Two pixels of one group have the weight exp(-|c_i - c_j|^2 / 2 sigma^2), wherever they are.
A Gaussian is a product over the axes, and along an axis it is smooth: splines of a few cells a
sigma represent it closely. So values are splatted onto a grid with quadratic B-splines (three
nodes an axis), blurred there along one axis after the other, and read back with the same splines.

The blur is fitted, not sampled: of all blurs on the nodes it is the one for which
"splat, blur, read" comes closest to the Gaussian in least squares (`fit_blur`). With 3 cells a
sigma no weight along an axis is off by more than 0.001, and by far less on average: on real
frames filtered values are within 0.05 % of the exact ones.

The blur matrix of an axis is symmetric and of low rank; with its factor F, B = F F^T, an axis
costs two thin matrix products, and the whole filter is symmetric and positive by construction.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 256  # colours are 0...255
DEGREE = 2  # of the B-splines
CELLS_PER_SIGMA = 3.0  # at least
MAX_NODES = 262  # an axis; 262^3 nodes of float32 are 72 MB a channel
MAX_STEP = 8  # levels a cell: its levels are summed apart first, and there are step^3 of them
FIT_SAMPLES = 8  # positions a cell at which the fit compares with the Gaussian
RANK_TOLERANCE = 1e-6  # eigenvalues of the blur below this share of the largest are dropped


@dataclass(frozen=True)
class Spacing:
    """How the axes are divided: cells of `step`, splines of `degree` (0: nodes are the colours)."""

    step: float
    degree: int

    @property
    def taps(self) -> int:
        """Nodes an axis that one colour touches."""
        return self.degree + 1


def spacing_for_levels(sigma: float) -> Spacing:
    """Cells for whole-number colours: some whole levels, or one node a level, which is exact."""
    step = min(MAX_STEP, int(sigma / CELLS_PER_SIGMA))
    return Spacing(step, DEGREE) if step > 1 else Spacing(1, 0)


def spacing_for_colors(sigma: float) -> Spacing:
    """Cells for colours that are not whole numbers; the same as for levels while those are > 1."""
    if sigma < CELLS_PER_SIGMA:
        raise ValueError(
            f"sigma_rgb is {sigma:g}: method 'grid' needs at least {CELLS_PER_SIGMA} for colours "
            "that are not whole numbers; pass uint8 images, or use another method"
        )
    spacing = spacing_for_levels(sigma)
    return spacing if spacing.degree else Spacing(1, DEGREE)


def nodes_for_features(
    features: Tensor,
) -> tuple[Spacing, tuple[int, int, int], tuple[int, int, int]]:
    """Cells for features (3, P) in units of sigma, nodes an axis, and the first cell an axis."""
    spacing = Spacing(1 / CELLS_PER_SIGMA, DEGREE)
    if not features.shape[1]:
        return spacing, (1 + DEGREE,) * 3, (0, 0, 0)
    low, high = features.aminmax(dim=1)
    # by the product with 1 / step, as the cells are: a quotient may fall into another cell
    bounds = torch.stack((low, high)).mul(1 / spacing.step).floor().tolist()
    if not all(map(math.isfinite, bounds[0] + bounds[1])):
        raise ValueError("features has NaN or infinite entries")
    first, last = ([int(bound) for bound in axis] for axis in bounds)
    nodes = tuple(b - a + 1 + DEGREE for a, b in zip(first, last, strict=True))
    if max(nodes) > MAX_NODES:
        raise ValueError(
            f"features span more than {MAX_NODES * spacing.step:g} sigma along one axis: "
            "too wide for method 'grid'; use another method"
        )
    return spacing, (nodes[0], nodes[1], nodes[2]), (first[0], first[1], first[2])


def spline_weights(t: Tensor, degree: int) -> Tensor:
    """Weights of nodes c, c+1, ..., c+degree for an offset t in [0, 1) in cell c: (..., taps)."""
    if degree == 0:
        return torch.ones_like(t).unsqueeze(-1)
    return torch.stack((0.5 * (1 - t) ** 2, 0.5 + t - t * t, 0.5 * t * t), dim=-1)


@functools.lru_cache(maxsize=64)
def fit_blur(sigma: float, spacing: Spacing) -> Tensor:
    """The blur's coefficients for node distances 0, 1, 2, ... on an endless axis: float64 (n,).

    With W the splines sampled at many positions and G the Gaussian between them, the blur
    with the least |W B W^T - G|^2 is B = W^+ G W^+T. On a ring of nodes all of these are
    circulant, and W^T G W / (W^T W)^2 is a division of their Fourier transforms.
    """
    ratio = sigma / spacing.step
    ring = 2 ** math.ceil(math.log2(max(32, 20 * ratio)))
    distance = torch.arange(ring, dtype=torch.float64)
    distance = torch.minimum(distance, ring - distance)
    if spacing.degree == 0:
        return torch.exp(-0.5 * (distance / ratio) ** 2)[: ring // 2]
    t = (torch.arange(FIT_SAMPLES, dtype=torch.float64) + 0.5) / FIT_SAMPLES
    spline = spline_weights(t, spacing.degree).flip(-1).T.reshape(-1)  # one spline, all its samples
    reach = spline.numel() - 1
    overlap = torch.nn.functional.conv1d(
        spline.view(1, 1, -1), spline.view(1, 1, -1), padding=reach
    ).view(-1)  # its correlation with itself at every lag
    lags = torch.arange(-reach, reach + 1, dtype=torch.float64) / FIT_SAMPLES
    signed = torch.where(torch.arange(ring) <= ring // 2, distance, -distance)
    wgw = torch.zeros(ring, dtype=torch.float64)
    for lag, weight in zip(lags.tolist(), overlap.tolist(), strict=True):
        wgw += weight * torch.exp(-0.5 * ((signed + lag) / ratio) ** 2)
    gram = torch.zeros(ring, dtype=torch.float64)
    for k in range(-spacing.degree, spacing.degree + 1):
        gram[k] = overlap[reach + k * FIT_SAMPLES]
    blur = torch.fft.ifft(torch.fft.fft(wgw).real / torch.fft.fft(gram).real ** 2).real
    return blur[: ring // 2]


@functools.lru_cache(maxsize=64)
def blur_factor(sigma: float, spacing: Spacing, nodes: int) -> Tensor:
    """F with F F^T the blur matrix of an axis of so many nodes: float64 (nodes, rank)."""
    blur = torch.zeros(nodes, dtype=torch.float64)
    fitted = fit_blur(sigma, spacing)[:nodes]
    blur[: len(fitted)] = fitted
    index = torch.arange(nodes)
    values, vectors = torch.linalg.eigh(blur[(index[:, None] - index).abs()])
    kept = values > RANK_TOLERANCE * values[-1]
    return (vectors[:, kept] * values[kept].sqrt()).contiguous()


def tap_offsets(spacing: Spacing, nodes: tuple[int, int, int], device: torch.device) -> Tensor:
    """Offsets of a cell's nodes from its first node in the flat grid: (taps^3,) int64."""
    k = torch.arange(spacing.taps, device=device)
    return ((k[:, None, None] * nodes[1] + k[None, :, None]) * nodes[2] + k[None, None, :]).reshape(
        -1
    )
