"""What torch.compile fails with, told as a user's mistake."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from colocam.runtime.errors import UserError


@contextmanager
def compiler_failures_told() -> Iterator[None]:
    """A block in which something may be compiled.

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
