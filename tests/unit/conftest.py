"""What the unit tests share."""

from tests.loopback import trust_nobody

__all__ = ["trust_nobody"]
