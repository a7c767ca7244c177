"""What the unit tests share."""

from tests.loopback import trust_one

__all__ = ["trust_one"]
