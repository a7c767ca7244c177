"""What the service says about itself: logs, without a word of anybody's transcript."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(level: str) -> None:
    """Send this package's logs to standard error, once, whoever calls and however often."""
    logger = logging.getLogger("serve_app")
    logger.setLevel(logging.DEBUG if level == "TRACE" else level)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(FORMAT))
        logger.addHandler(handler)
