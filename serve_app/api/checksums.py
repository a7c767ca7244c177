"""tus's checksums: `Upload-Checksum: sha1 BASE64`, of one part."""

from __future__ import annotations

import base64
import hashlib
import hmac

from serve_app.errors import InvalidRequest

ALGORITHMS = ("sha1", "sha256", "sha512", "md5")  # tus requires sha1; none of them guards against an attacker here
HEADER = "Upload-Checksum"


class Checksum:
    """
    What a part should have, and what it has so far.

    Raises:
        InvalidRequest: The header is malformed, or names an algorithm that we have not.
    """

    def __init__(self, header: str) -> None:
        algorithm, _, encoded = header.strip().partition(" ")
        if algorithm not in ALGORITHMS:
            raise InvalidRequest(f"{HEADER} takes one of {', '.join(ALGORITHMS)}.", param=HEADER)
        self._digest = hashlib.new(algorithm, usedforsecurity=False)
        self._wanted = _decoded(encoded.strip())
        if len(self._wanted) != self._digest.digest_size:
            raise InvalidRequest(f"{HEADER} should be an algorithm and a digest in Base64.", param=HEADER)

    def update(self, block: bytes) -> None:
        self._digest.update(block)

    def matches(self) -> bool:
        return hmac.compare_digest(self._digest.digest(), self._wanted)


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii's is one, too
        return b""
