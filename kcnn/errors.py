"""The one exception that kcnn raises for bad input."""


class InputError(ValueError):
    """Bad input, found before any long work started.

    The message says what was received, what is allowed, and what to try. The command line
    prints it without a traceback and exits with status 2.
    """
