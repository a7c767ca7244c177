"""Which addresses a client may make the service connect to."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from serve_app.errors import ConfigError, InvalidRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HOST = re.compile(rb"[\w.:-]+")
PUBLIC_V6 = ip_network("2000::/3")  # all that was ever given out
NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
NOT_PUBLIC = tuple(  # what `is_global` of some Python counts as public
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # answers inside Azure only, with what a machine should keep to itself
        "192.0.0.0/24",  # protocol assignments: the router's own addresses
        "192.88.99.0/24",  # relays of 6to4
        "3fff::/20",  # documentation
    )
)


class AddressRules:
    """
    Public addresses, and what the operator allows beyond them.

    Args:
        allow: Networks (`10.0.0.0/8`), addresses and host names.

    Raises:
        ConfigError: One of them is malformed.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        entries = tuple(allow)
        networks = {entry: _network(entry) for entry in entries}
        self._networks = tuple(network for network in networks.values() if network is not None)
        self._names = frozenset(_name(entry) for entry in entries if networks[entry] is None)

    def check(self, url: str, *, param: str = "url") -> None:
        """
        What can be said of a URL without the network.

        Args:
            param: The request field it came in.

        Raises:
            InvalidRequest: It is malformed, of another scheme, has credentials in it, or names a forbidden address.
        """
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            raise InvalidRequest(f"{param} is not a URL.", param=param) from None
        self.check_parsed(parsed, param=param)

    def check_parsed(self, url: httpx.URL, *, param: str = "url") -> None:
        """As `check`."""
        if url.scheme not in ("http", "https") or not HOST.fullmatch(url.raw_host):
            raise InvalidRequest(f"{param} must be an http:// or https:// URL.", param=param)
        if url.userinfo:
            raise InvalidRequest(f"{param} must not have a user name or password in it.", param=param)
        if url.port is not None and not 0 < url.port < 65536:
            raise InvalidRequest(f"{param} must have a port between 1 and 65535.", param=param)
        try:
            host = url.host
        except ValueError:  # it begins with `xn--`, and nothing is written so
            raise InvalidRequest(f"{param} is not a URL.", param=param) from None
        if _name(host) in self._names:
            return
        literal = _literal(url.raw_host)
        if _is_this_machine(host) or (literal is not None and not self._permits(literal)):
            raise _forbidden(param)

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        """
        What the resolver gave for a host.

        Raises:
            InvalidRequest: One of the addresses is forbidden.
        """
        if _name(host) in self._names:
            return
        if not all(self._permits(ip_address(address)) for address in addresses):
            raise _forbidden("url")

    def _permits(self, address: Address) -> bool:
        forms = {address, _reached(address)}
        return any(form in network for form in forms for network in self._networks) or _is_public(_reached(address))


def _is_public(address: Address) -> bool:
    if any(address in network for network in NOT_PUBLIC) or address.is_multicast:
        return False
    return address.is_global and (address.version == 4 or address in PUBLIC_V6)


def _reached(address: Address) -> Address:
    """Where packets to it go in the end: some IPv6 addresses stand for an IPv4 address."""
    if address.version == 4:
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _literal(host: bytes) -> Address | None:
    """The address that a host is, as the resolver reads it: it takes 0x7f.1 and 2130706433 too."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return ip_address(found[0][4][0])
    except (OSError, ValueError):
        return None


def _is_this_machine(host: str) -> bool:
    """By name, as RFC 6761 reserves it."""
    return f".{_name(host)}".endswith(".localhost")


def _name(host: str) -> str:
    return host.rstrip(".").lower()


def _network(entry: str) -> Network | None:
    """None for the name of a host."""
    try:
        return ip_network(entry, strict=False)
    except ValueError as error:
        if not _name(entry) or set(entry) & set("/:@*? "):
            raise ConfigError(
                f"outbound.allow: {entry!r} is neither a network (10.0.0.0/8) nor a host's name"
            ) from error
        return None


def _forbidden(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param} leads to an address that is not public; whoever runs the service can allow it in outbound.allow.",
        param=param,
    )
