"""The error of this package."""


class BenchFailed(Exception):
    """Something that a row needs is missing or went wrong; the text says what."""
