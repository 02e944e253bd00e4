"""Errors of torch.compile as user errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from colocam.runtime.errors import UserError


@contextmanager
def compile_errors_reported() -> Iterator[None]:
    """Context in which torch.compile may run.

    Raises:
        UserError: the compiler fails.
    """
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--compile: torch.compile fails here ({line}); give --compile off"
        ) from error
