"""Color grid: exact or nearly exact Gaussian filtering of three-dimensional features."""
