"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what to do.

    The command line prints the line alone and exits with 2; `--debug` shows the traceback too.
    """
