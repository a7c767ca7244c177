"""Pins on a disk, so that the next Coordinator knows them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from serve_app.models.types import FOREVER

COARSE_S = 10  # while a model is used its pin ends ever later, and not each second of that is worth a write

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeptPin:
    """
    Attributes:
        ttl_s: As `Models.load`.
        until: Not longer, if the model is not used any more.
    """

    ttl_s: float | None
    until: datetime

    @classmethod
    def of(cls, ttl_s: float | None, until: datetime) -> KeptPin:
        """Rounded up, so that two in a row are mostly the same."""
        if until > FOREVER - timedelta(seconds=COARSE_S):
            return cls(ttl_s, FOREVER)
        return cls(ttl_s, until + timedelta(seconds=COARSE_S - until.timestamp() % COARSE_S))


class PinFile:
    """Blocks. A disk that fails costs the pins of the next start, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, KeptPin]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return {m: KeptPin(its["ttl_s"], datetime.fromisoformat(its["until"])) for m, its in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("which models were pinned is not known, because %s cannot be read: %r", self._path, error)
            return {}

    def write(self, pins: Mapping[str, KeptPin]) -> None:
        new = self._path.with_suffix(".new")
        text = json.dumps({m: {"ttl_s": its.ttl_s, "until": its.until.isoformat()} for m, its in pins.items()})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(text, encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            logger.warning("pins cannot be kept for the next start: %s", error.strerror)
