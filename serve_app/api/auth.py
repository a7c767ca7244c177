"""API keys: several, each with its scopes, from the environment or files, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from serve_app.api.services import ServicesDep
from serve_app.errors import ConfigError, InvalidApiKey, NotPermitted
from serve_app.jobs.job import Owner
from serve_app.settings import ApiKey, AuthSettings, Scope, read_api_keys

logger = logging.getLogger(__name__)

ASK = "ask whoever runs this service"

Fingerprint = tuple[int, int, int]


class KeyRing:
    """
    The keys of the settings, read again when a key file changes.

    A file that is empty or cannot be read leaves the keys as they were: a rotation that goes wrong must not open the service.
    """

    def __init__(self, auth: AuthSettings, read: Callable[[AuthSettings], Sequence[ApiKey]] = read_api_keys) -> None:
        self._auth = auth
        self._read = read
        self._seen = self._fingerprints()
        self._keys = read(auth)

    def __call__(self) -> Sequence[ApiKey]:
        now = self._fingerprints()
        if now != self._seen:
            self._seen = now
            self._read_again()
        return self._keys

    def _read_again(self) -> None:
        try:
            keys = self._read(self._auth)
        except ConfigError as error:
            logger.error("the API keys stay as they were: %s", error.message)
            return
        if self._keys and not keys:
            logger.error("the API keys stay as they were: there would be none")
            return
        logger.info("read the API keys again: %d", len(keys))
        self._keys = keys

    def _fingerprints(self) -> list[Fingerprint | None]:
        return [_fingerprint(file) for file in (self._auth.api_key_file, self._auth.admin_key_file)]


def _fingerprint(file: str | None) -> Fingerprint | None:
    if file is None:
        return None
    try:
        stat = Path(file).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


async def authorise(request: Request, services: ServicesDep) -> ApiKey | None:
    """
    The key that the request came with; None where no key is needed.

    Whether a file of keys has changed is asked here and not in a thread: that takes microseconds, and a thread's turn on a busy
    machine longer than the rest of the request.

    Raises:
        InvalidApiKey: It came with none, or a wrong one.
    """
    keys = services.api_keys()
    if not keys:
        return None
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise InvalidApiKey("You didn't provide an API key. Send it as `Authorization: Bearer YOUR_KEY`.")
    key = _matching(given.strip(), keys)
    if key is None:
        raise InvalidApiKey("Incorrect API key provided.")
    return key


def _matching(given: str, keys: Iterable[ApiKey]) -> ApiKey | None:
    digest = hashlib.sha256(given.encode("latin-1")).digest()
    found = None
    for key in keys:  # all of them, always: to stop at the match would tell how far down the list it is
        if hmac.compare_digest(digest, key.digest):
            found = key
    return found


KeyDep = Annotated[ApiKey | None, Depends(authorise)]


def needs(scope: Scope) -> Callable[[ApiKey | None], Awaitable[None]]:
    """A dependency that refuses keys without a scope."""

    async def check(key: KeyDep) -> None:
        if key is not None and not key.may(scope):
            raise NotPermitted(f"This needs an API key of scope {scope}, which yours lacks: {ASK}.")

    return check


async def owner(key: KeyDep) -> str:
    """Whose jobs and uploads these are; "" where no key is needed."""
    return "" if key is None else key.owner


OwnerDep = Annotated[str, Depends(owner)]


async def viewer(key: KeyDep, owner: OwnerDep) -> Owner:
    """Whose jobs and uploads the request may see and end: those of its key, or everybody's, by its scope."""
    return None if key is not None and key.may(Scope.ADMIN) else owner


ViewerDep = Annotated[Owner, Depends(viewer)]


class Permit:
    """
    Whether the request may do what all who use the service feel: with a key of scope admin, or, where there is no such key,
    with one that names no scopes.

    Raises:
        NotPermitted: When it is called, if not.
    """

    def __init__(self, key: KeyDep, services: ServicesDep) -> None:
        there_is_one = any(other.may(Scope.ADMIN) for other in services.api_keys())
        self._is_given = key is None or key.may(Scope.ADMIN) or not (there_is_one or key.names_scopes)

    def __call__(self, what: str) -> None:
        if not self._is_given:
            raise NotPermitted(f"{what} needs an API key of scope admin: {ASK}.")


PermitDep = Annotated[Permit, Depends()]
