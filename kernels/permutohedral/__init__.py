"""Permutohedral lattice (Adams et al. 2010): Gaussian filtering of one to five features.

- `geometry.py`: elevation, simplices, barycentric weights, calibrated blur, keys.
- `lattice_torch.py`: the filter in PyTorch operations; read it first.
- `lattice_triton.py`: the same filter as Triton kernels: tables, launches.
- `simplex_triton.py`: device functions: features of a pixel, its simplex and weights.
- `insert_kernels_triton.py`: kernels that fill the tables of simplices and vertices.
- `filter_kernels_triton.py`: kernels that splat, blur and slice.
- `hash_table_triton.py`: device functions of the hash table.
- `capacity.py`: capacity of the tables, width of the packed keys.
"""
