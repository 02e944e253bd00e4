"""Errors that a user can correct."""


class UserError(Exception):
    """Error with a message of one line that names the file or argument, and what to do.

    The commands print it and exit with status 2.
    """


class WriteError(UserError):
    """Error for a file that cannot be written: its name, the disk, or what is to be written."""


class DamagedFileError(UserError):
    """Error for a file whose contents are not those that were written."""
