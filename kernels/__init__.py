"""Gaussian filtering of pixels on CPU and GPU, and the kernels of the seeds.

Public operators (`ops.py`):

- `gaussian_filter`: filters values of points by a Gaussian of their feature distance.
- `crf_energy`: energies of a dense CRF over frames, from images and probability maps.

Modules:

- `ops.py`: the public operators, registered with torch.library; autograd.
- `arguments.py`: checks of arguments, choice of the backend.
- `backend_torch.py`, `backend_triton.py`: both operators in PyTorch, and as Triton kernels.
- `dense.py`: exact filter over all pairs of points, the reference of all methods.
- `color_grid/`: filter of three colour channels on a regular grid.
- `permutohedral/`: filter of one to five features on the permutohedral lattice.
- `seeds/`: seeds of a batch of CAMs (`colocam.seeds` on a GPU).
- `energy_triton.py`: energy and half gradient from filtered maps, as a kernel.
- `launch.py`: inputs of the kernels, block sizes, passes that fit into memory.
- `points_triton.py`: device functions that all kernels over points share.
- `products.py`, `sorted_keys.py`: float32 matrix products, sorted int64 keys (PyTorch backend).

Triton kernels are in the files that end in `_triton.py`. The package imports nothing else of
colocam.
"""

from colocam.kernels.ops import crf_energy, gaussian_filter

__all__ = ["crf_energy", "gaussian_filter"]
