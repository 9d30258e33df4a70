"""The error of bad input."""


class UserError(ValueError):
    """An input that is not allowed.

    The message says what it is, what is allowed and, where that is not plain, what to do. A command prints it as one
    line and ends with exit code 2; every other error keeps its traceback, because it is a bug.
    """
