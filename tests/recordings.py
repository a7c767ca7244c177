"""Where the recordings are."""

from pathlib import Path

DATA = Path(__file__).parent / "data"
SHARED_AUDIO = Path(__file__).resolve().parents[2] / "shared" / "audio"  # beside the checkout, not part of it
