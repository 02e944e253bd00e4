"""Seeds of a batch of CAMs as Triton kernels: `colocam.seeds` on a GPU.

- `sampling_triton.py`: launches the kernels; the public functions of this package.
- `choice.py`: choice of one region per image, in tensor operations, for every device.
- `otsu_triton.py`: Otsu's threshold.
- `regions_triton.py`: connected regions by union–find.
- `selection_triton.py`: the k-th largest value of many rows, without sorting.
- `pixels_triton.py`: region of interest, keys of the samples, seeds.
"""
