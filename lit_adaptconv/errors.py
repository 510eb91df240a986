"""The one exception that means: the input is wrong, and here is what would be right."""


class UserError(ValueError):
    """Bad input that a person can mend; the command prints it as one line, without a traceback."""


class UsageError(UserError):
    """Arguments or a configuration that cannot be read; the command exits with status 2."""


class DivergedError(UserError):
    """The training loss stopped being a finite number."""
