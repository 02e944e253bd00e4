"""Command train.py: parses the command line, claims the run folder, trains."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from colocam.cli.options import Command, parse_command
from colocam.runtime.console import print_error
from colocam.runtime.distribution import join_ranks
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from colocam.runtime.interruption import Interrupted
from colocam.training.run_folder import claim_folder, resume_hint
from colocam.training.train import train


def main(argv: Sequence[str] | None = None) -> int:
    """Runs train.py and returns its exit status.

    Args:
        argv: arguments without the program's name; None: those of this process.
    """
    return exit_status(lambda: _run(parse_command(argv, torch.cuda.is_available())))


def _run(command: Command) -> int:
    with (
        join_ranks(command.config.device) as ranks,
        claim_folder(command.destination, ranks) as out,
    ):
        config = replace(command.config, out=out)
        try:
            train(config, ranks, resume=command.resume, changed=command.changed)
        except Interrupted as signal:
            if ranks.main:
                print_error(f"stopped by {signal}; continue with {resume_hint(out)}")
            return 128 + signal.number
        except torch.OutOfMemoryError as error:
            raise UserError(
                "the GPU's memory is full: give a smaller --batch-size, with --accumulate for the "
                "same step (with --method tcam also fewer --frames)"
            ) from error
    return 0
