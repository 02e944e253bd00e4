"""Device functions of the permutohedral lattice: features of points, simplices, weights.

They repeat `geometry.py` operation by operation, so that both backends find the same simplices.
The geometry of a point is computed from the image wherever it is needed; it is not stored.
"""

import triton
import triton.language as tl

from colocam.kernels.points_triton import read_points


@triton.jit
def scaled_features(
    source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x,
    f0, f1, f2, f3, f4, D: tl.constexpr, XY: tl.constexpr, COLORS: tl.constexpr,
):  # fmt: skip
    """Features times the axis factors (a tuple of D), and the mask of points that are valid.

    With XY the last two features are column and row. With COLORS the first three must be 0...255.
    """
    factors = (f0, f1, f2, f3, f4)
    if XY:
        read = read_points(
            source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x, D - 2
        )
        read = read + (x.to(tl.float32), y.to(tl.float32))
    else:
        read = read_points(source, frame, y, x, active, stride_f, stride_c, stride_y, stride_x, D)
    valid = active
    features: tl.tuple = ()
    for k in tl.static_range(D):
        if COLORS and k < 3:
            valid = valid & (read[k] >= 0) & (read[k] <= 255)
        features = features + (read[k] * factors[k],)
    return features, valid


@triton.jit
def enclosing_simplex(features, valid, HALF: tl.constexpr, D: tl.constexpr):
    """`geometry.elevate` and `geometry.enclosing_simplex`, operation by operation.

    Returns origin, rank (int32) and barycentric weights, tuples of D + 1, and the mask of valid
    points whose origin is within -HALF...HALF-1 (points that are not finite are not).
    """
    SIDES: tl.constexpr = D + 1
    total = tl.zeros_like(features[0])
    elevated: tl.tuple = ()
    for i in tl.static_range(D):
        x = features[D - 1 - i]
        elevated = (total - (D - i) * x,) + elevated
        total = total + x
    elevated = (total,) + elevated
    nearest: tl.tuple = ()
    residual: tl.tuple = ()
    excess = tl.zeros_like(valid.to(tl.int32))
    for i in tl.static_range(SIDES):
        scaled = elevated[i] * (1.0 / SIDES)
        valid = valid & (scaled > -HALF + 1) & (scaled < HALF - 2)
        scaled = tl.where(valid, scaled, 0.0)
        rounded = tl.floor(scaled + 0.5)
        nearest = nearest + (rounded.to(tl.int32),)
        residual = residual + (scaled - rounded,)
        excess += rounded.to(tl.int32)
    origin: tl.tuple = ()
    ranks: tl.tuple = ()
    moved: tl.tuple = ()
    for i in tl.static_range(SIDES):
        rank = excess
        for j in tl.static_range(SIDES):
            if j < i:
                rank += (residual[j] >= residual[i]).to(tl.int32)
            if j > i:
                rank += (residual[j] > residual[i]).to(tl.int32)
        shift = (rank < 0).to(tl.int32) - (rank >= SIDES).to(tl.int32)
        origin = origin + (nearest[i] + shift,)
        ranks = ranks + (rank + SIDES * shift,)
        moved = moved + (residual[i] - shift.to(tl.float32),)
    ordered: tl.tuple = ()
    for r in tl.static_range(SIDES):
        value = tl.zeros_like(total)
        for i in tl.static_range(SIDES):
            value = tl.where(ranks[i] == r, moved[i], value)
        ordered = ordered + (value,)
    weights: tl.tuple = ()
    weights = weights + (1 + ordered[D] - ordered[0],)
    for k in tl.static_range(D):
        weights = weights + (ordered[D - 1 - k] - ordered[D - k],)
    return origin, ranks, weights, valid


@triton.jit
def self_normalized(weights, D: tl.constexpr, NEIGHBOR: tl.constexpr):
    """Weights divided by the square root of `geometry.self_weight`."""
    SIDES: tl.constexpr = D + 1
    total = tl.zeros_like(weights[0])
    for k in tl.static_range(SIDES):
        total += weights[k] * weights[k]
    # powers as products: Triton has no pow of constants
    around = 1.0  # NEIGHBOR^SIDES
    for _ in tl.static_range(SIDES):
        around = around * NEIGHBOR
    total = total * (1 + 2 * around)
    onward = 1.0  # NEIGHBOR^steps
    for steps in tl.static_range(1, SIDES):
        onward = onward * NEIGHBOR
        product = tl.zeros_like(total)
        for k in tl.static_range(SIDES - steps):
            product += weights[k + steps] * weights[k]
        total += 2 * (onward + around / onward) * product
    scale = 1 / tl.sqrt(total)
    out: tl.tuple = ()
    for k in tl.static_range(SIDES):
        out = out + (weights[k] * scale,)
    return out
