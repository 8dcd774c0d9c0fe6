"""The one exception for bad input."""


class LIIFError(ValueError):
    """Bad input, told in one line that names the file, key or option and says what to do."""
