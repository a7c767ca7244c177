"""The errors of this package."""


class BenchFailed(Exception):
    """Something that a row needs is missing or went wrong; the text says what."""


class Refused(BenchFailed):
    """The service says that a file is not to be transcribed; the text says which and why."""


class NotHere(BenchFailed):
    """A row needs what this machine does not have, and is left out; the text says what."""
