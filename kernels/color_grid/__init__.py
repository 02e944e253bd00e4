"""Color grid: Gaussian filtering of three colour channels on a regular grid, exact or nearly so.

- `geometry.py`: spacing of the nodes, spline weights, fitted blur.
- `grid_torch.py`: the filter in PyTorch operations; read it first.
- `grid_triton.py`: the same filter as Triton kernels: which grid, buffers, launches.
- `level_kernels_triton.py`: kernels for 8-bit colours, which sum pixels of equal colour first.
- `node_kernels_triton.py`: kernels for any colours, which splat every pixel onto its nodes.
- `blur_triton.py`: blur along the three axes, of both kinds of grids.
"""
