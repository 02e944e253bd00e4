"""The error that speaks to the user."""


class UserError(Exception):
    """A mistake a user can mend: one line naming the file or argument, and what to do.

    The entries print it and exit with status 2.
    """
