"""Synchronization of the host with a GPU: whether and where a computation waits for it."""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import colocam.kernels

# Links are resolved: colocam/kernels is one in a checkout.
PACKAGES = tuple(
    Path(inspect.getfile(module)).resolve().parent for module in (colocam, colocam.kernels)
)


def first_synchronization(work: Callable[[], object]) -> str | None:
    """Runs the work up to its first synchronization with the GPU.

    Returns:
        where that is: "file:line, function", innermost line of this project; None: nowhere.
    """
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return _innermost_line(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def _innermost_line(error: BaseException) -> str:
    """Innermost frame of a traceback that belongs to this project."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(Path(f.filename).resolve().is_relative_to(x) for x in PACKAGES)]
    innermost = (own or frames)[-1]
    return f"{Path(innermost.filename).name}:{innermost.lineno}, {innermost.name}"
