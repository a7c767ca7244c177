"""The HTTP client for addresses that clients name: it connects to what was checked, and to nothing else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from serve_app import __version__
from serve_app.media.addresses import AddressRules

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses, in the order to try them; OSError if there are none."""

MAX_REDIRECTS = 5
ADDRESSES_TRIED = 4
RESOLVER_THREADS = 8


class GuardedTransport(httpx.AsyncBaseTransport):
    """
    Resolves each host once, checks every address, and connects to just those.

    A name server that gives a public address to whoever checks and a private one to whoever connects gains nothing, because
    both are the same look-up. Redirects pass here too. TLS and the `Host` header keep the name. Connections are not kept for
    another request: two names may share an address, and a certificate was checked for one of them.

    Raises:
        InvalidRequest: The address is forbidden.
    """

    def __init__(
        self, rules: AddressRules, *, resolve: Resolve | None = None, verify: ssl.SSLContext | bool = True
    ) -> None:
        self._rules = rules
        # Threads of its own: name servers that hang must not keep the event loop's from reading files.
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
        self._resolve = resolve or self._ask_system
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._rules.check_parsed(request.url)
        addresses = await self._addresses(request)
        self._rules.check_addresses(request.url.host, addresses)
        *others, last = addresses[:ADDRESSES_TRIED]
        for address in others:
            try:
                return await self._transport.handle_async_request(_addressed(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._transport.handle_async_request(_addressed(request, last))

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False)
        await self._transport.aclose()

    async def _addresses(self, request: httpx.Request) -> Sequence[str]:
        host, scheme = request.url.raw_host.decode("ascii"), request.url.scheme
        port = request.url.port or {"http": 80, "https": 443}[scheme]
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("connect")):
                return await self._resolve(host, port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("The name server does not answer.", request=request) from error
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError("The host's name leads nowhere.", request=request) from error

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _system_addresses, host, port)
        return list(dict.fromkeys(found))


def outbound_client(
    rules: AddressRules,
    *,
    timeout: httpx.Timeout | None = None,
    resolve: Resolve | None = None,
    verify: ssl.SSLContext | bool = True,
) -> httpx.AsyncClient:
    """
    A client that keeps to the rules; neither proxies of the environment nor cookies of an earlier request are used.

    Args:
        resolve: Instead of the system's resolver.
        verify: Certificates to trust, instead of those of the system (`SSL_CERT_FILE` counts).
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(rules, resolve=resolve, verify=verify),
        timeout=timeout or httpx.Timeout(60.0, connect=10.0),
        max_redirects=MAX_REDIRECTS,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"User-Agent": f"rayscribe/{__version__}"},
    )


def failure(error: Exception) -> str:
    """Why a request got no answer, without a word of its URL."""
    match error:
        case httpx.TimeoutException() | TimeoutError():
            return "it takes too long"
        case httpx.ConnectError():
            return "no connection can be made"
        case _:
            return "the connection broke off"


def _addressed(request: httpx.Request, address: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.raw_host.decode("ascii").rstrip(".")},
    )


def _system_addresses(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)]
