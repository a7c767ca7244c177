"""Who goes first where there is more work than processors."""

from __future__ import annotations

import os
import sys

COMPUTING = 5  # of 19: beside other work of the machine it still gets a third of an equal share


def give_way() -> None:
    """
    Have this thread, and what it starts from now on, yield to those that answer clients.

    These need a processor for a moment, and at once. With equal rights they wait behind batches and decoders, as many as there
    are, and so does each of the four processes that an answer passes. Does nothing where niceness is of whole processes.
    """
    if sys.platform == "linux":
        os.nice(COMPUTING)
