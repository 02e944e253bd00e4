"""Whether, and where, work on a GPU makes the host wait for it."""

import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import colocam.kernels


def first_wait(work: Callable[[], object]) -> str | None:
    """Where the work first waits for the GPU; None: nowhere. It breaks off there."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return _own_line(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def _own_line(error: BaseException) -> str:
    """The innermost line of this project that an error went through."""
    folders = [Path(module.__file__).parent for module in (colocam, colocam.kernels)]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(Path(f.filename).is_relative_to(x) for x in folders)]
    innermost = (own or frames)[-1]
    return f"{Path(innermost.filename).name}:{innermost.lineno}, {innermost.name}"
