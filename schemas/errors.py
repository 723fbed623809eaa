"""The one error type of hoptrace: what a person can mend, said so that they can."""


class HoptraceError(Exception):
    """An input, setting or store that cannot be used; the message names the file, the place in it and the remedy."""
