"""Permutohedral lattice (Adams et al. 2010): Gaussian filtering of one to five dimensions."""
