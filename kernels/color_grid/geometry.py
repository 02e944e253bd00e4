"""Geometry of the colour grid, shared by the backends: spacing, spline weights, fitted blur.

Two pixels of one group have the weight exp(-|c_i - c_j|^2 / 2 sigma^2), independent of their
positions. The Gaussian is a product over the axes and smooth along each of them, so that splines
with a few cells per sigma represent it closely. Values are splatted onto a grid with quadratic
B-splines (three nodes per axis), blurred along each axis in turn, and sliced with the same splines.

The blur is fitted, not sampled: among all blurs on the nodes it is the one for which
splat-blur-slice is closest to the Gaussian in least squares (`fit_blur`). With 3 cells per sigma
the error of a weight along an axis is at most 0.001; filtered values of real frames are within
0.05 % of the exact ones.

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
MAX_NODES = 262  # per axis; 262^3 nodes of float32 are 72 MB per channel
MAX_STEP = 8  # levels per cell and axis: each of the step^3 colours of a cell has its own sum
FIT_SAMPLES = 8  # sample points per cell at which the fit is compared with the Gaussian
RANK_TOLERANCE = 1e-6  # eigenvalues of the blur below this share of the largest are dropped


@dataclass(frozen=True)
class Spacing:
    """Cells and splines of an axis.

    Attributes:
        step: width of a cell.
        degree: of the B-splines; 0: one node per colour, no interpolation.
    """

    step: float
    degree: int

    @property
    def taps(self) -> int:
        """Nodes per axis that one colour contributes to."""
        return self.degree + 1


def spacing_for_levels(sigma: float) -> Spacing:
    """Spacing for integer colours: cells of several levels, or one node per level (exact)."""
    step = min(MAX_STEP, int(sigma / CELLS_PER_SIGMA))
    return Spacing(step, DEGREE) if step > 1 else Spacing(1, 0)


def spacing_for_colors(sigma: float) -> Spacing:
    """Spacing for colours that are not integers: as for levels where a cell has several of them.

    Raises:
        ValueError: sigma is too small for a spline of one level per cell.
    """
    if sigma < CELLS_PER_SIGMA:
        raise ValueError(
            f"sigma_rgb is {sigma:g}: method 'grid' needs at least {CELLS_PER_SIGMA} for colours "
            "that are not integers; pass uint8 images, or use another method"
        )
    spacing = spacing_for_levels(sigma)
    return spacing if spacing.degree else Spacing(1, DEGREE)


def nodes_for_features(
    features: Tensor,
) -> tuple[Spacing, tuple[int, int, int], tuple[int, int, int]]:
    """Grid for features (3, P) in units of sigma; reads their range.

    Returns:
        the spacing, the nodes per axis, and the first cell per axis.

    Raises:
        ValueError: features are not finite, or span too many cells.
    """
    spacing = Spacing(1 / CELLS_PER_SIGMA, DEGREE)
    if not features.shape[1]:
        return spacing, (1 + DEGREE,) * 3, (0, 0, 0)
    low, high = features.aminmax(dim=1)
    # multiplied by 1 / step, as the cells are: a division may round into another cell
    bounds = torch.stack((low, high)).mul(1 / spacing.step).floor().tolist()
    if not all(map(math.isfinite, bounds[0] + bounds[1])):
        raise ValueError("features has NaN or infinite entries")
    (r0, g0, b0), (r1, g1, b1) = ([int(bound) for bound in axis] for axis in bounds)
    nodes = (r1 - r0 + 1 + DEGREE, g1 - g0 + 1 + DEGREE, b1 - b0 + 1 + DEGREE)
    if max(nodes) > MAX_NODES:
        raise ValueError(
            f"features span more than {MAX_NODES * spacing.step:g} sigma along one axis: "
            "too wide for method 'grid'; use another method"
        )
    return spacing, nodes, (r0, g0, b0)


def spline_weights(t: Tensor, degree: int) -> Tensor:
    """Weights of nodes c, ..., c+degree for the fractional position t of cell c: (..., taps)."""
    if degree == 0:
        return torch.ones_like(t).unsqueeze(-1)
    return torch.stack((0.5 * (1 - t) ** 2, 0.5 + t - t * t, 0.5 * t * t), dim=-1)


@functools.lru_cache(maxsize=64)
def fit_blur(sigma: float, spacing: Spacing) -> Tensor:
    """Blur coefficients for node distances 0, 1, 2, ... on an unbounded axis: float64 (n,).

    With W the splines at many sample points and G the Gaussian between these points, the blur
    that minimizes |W B W^T - G|^2 is B = W^+ G W^+T. On a ring of nodes all of these matrices are
    circulant, and W^T G W / (W^T W)^2 is a division of their Fourier transforms.
    """
    ratio = sigma / spacing.step
    ring = 2 ** math.ceil(math.log2(max(32, 20 * ratio)))
    distance = torch.arange(ring, dtype=torch.float64)
    distance = torch.minimum(distance, ring - distance)
    if spacing.degree == 0:
        return torch.exp(-0.5 * (distance / ratio) ** 2)[: ring // 2]
    t = (torch.arange(FIT_SAMPLES, dtype=torch.float64) + 0.5) / FIT_SAMPLES
    # one spline at all its sample points
    spline = spline_weights(t, spacing.degree).flip(-1).T.reshape(-1)
    reach = spline.numel() - 1
    overlap = torch.nn.functional.conv1d(
        spline.view(1, 1, -1), spline.view(1, 1, -1), padding=reach
    ).view(-1)  # its autocorrelation at every lag
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
    """F with F F^T = B, the blur matrix of an axis with `nodes` nodes: float64 (nodes, rank)."""
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
