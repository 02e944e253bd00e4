"""Gaussian filtering of pixels: tensors in, tensors out; nothing else of colocam is needed here."""

from colocam.kernels.ops import crf_energy, gaussian_filter

__all__ = ["crf_energy", "gaussian_filter"]
