"""tus's checksums: `Upload-Checksum: sha1 BASE64`, of one part."""

from __future__ import annotations

import base64
import binascii
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
        try:
            self._wanted = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequest(f"{HEADER} should be an algorithm and a digest in Base64.", param=HEADER) from None
        self._digest = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, block: bytes) -> None:
        self._digest.update(block)

    def matches(self) -> bool:
        return hmac.compare_digest(self._digest.digest(), self._wanted)
