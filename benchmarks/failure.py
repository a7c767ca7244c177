"""The errors of this package."""


class BenchFailed(Exception):
    """Something that a row needs is missing or went wrong; the text says what."""


class Refused(BenchFailed):
    """The service says that a file is not to be transcribed; the text says which and why."""
