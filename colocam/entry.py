"""How every command ends: 0 on success, 2 with one clear line on a user's mistake."""

import sys
from collections.abc import Callable

from colocam.errors import UserError


def exit_status(run: Callable[[], None]) -> int:
    """Runs a command and returns its exit status; mistakes a user can mend go to stderr."""
    try:
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
