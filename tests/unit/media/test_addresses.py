"""No private address passes, however it is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.errors import ConfigError, InvalidRequest
from serve_app.media.addresses import AddressRules

RULES = AddressRules()
PRIVATE_V4 = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
PRIVATE_V6 = [
    ip_network(network)
    for network in (
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
]


def within(networks: list) -> st.SearchStrategy:
    return st.sampled_from(networks).flatmap(lambda network: st.ip_addresses(network=str(network)))


def number(value: int) -> st.SearchStrategy[str]:
    return st.sampled_from([str(value), hex(value), hex(value).upper().replace("X", "x"), f"0{value:o}"])


@st.composite
def as_ipv4(draw: st.DrawFn, address: IPv4Address) -> str:
    """As the C library reads it: one to four numbers, the last of which fills what is left."""
    parts = draw(st.integers(1, 4))
    head = list(address.packed[: parts - 1])
    tail = int.from_bytes(address.packed[parts - 1 :], "big")
    return ".".join(draw(number(value)) for value in [*head, tail])


@st.composite
def as_ipv6(draw: st.DrawFn, address: IPv4Address) -> str:
    prefix, shift = draw(
        st.sampled_from(
            [
                ("::ffff:0:0", 0),
                ("64:ff9b::", 0),
                ("2002::", 80),
                ("::", 0),
                ("::ffff:0:0:0", 0),
            ]  # mapped, NAT64, 6to4, …
        )
    )
    return f"[{IPv6Address(int(IPv6Address(prefix)) | int(address) << shift)}]"


def notations(address: IPv4Address) -> st.SearchStrategy[str]:
    return st.one_of(as_ipv4(address), as_ipv6(address))


@settings(deadline=None)
@given(within(PRIVATE_V4).flatmap(notations), st.sampled_from(["http", "https", "HTTP"]), st.sampled_from(["", ":81"]))
def test_no_private_ipv4_address_passes_in_any_notation(host: str, scheme: str, port: str) -> None:
    with pytest.raises(InvalidRequest):  # as not public, or as no URL at all: 0177.0.0.1 is none to httpx
        RULES.check(f"{scheme}://{host}{port}/audio.mp3")


@given(within(PRIVATE_V6))
def test_no_private_ipv6_address_passes(address: IPv6Address) -> None:
    for written in (str(address), address.exploded, str(address).upper()):
        with pytest.raises(InvalidRequest, match="not public"):
            RULES.check(f"http://[{written}]/")


@given(within(PRIVATE_V4 + PRIVATE_V6), st.ip_addresses())
def test_one_private_answer_of_the_name_server_is_one_too_many(private: object, other: object) -> None:
    with pytest.raises(InvalidRequest, match="not public"):
        RULES.check_addresses("example.com", [str(other), str(private)])


@pytest.mark.parametrize(
    "host",
    ["93.184.215.14", "0x5db8d70e", "[2606:4700::1111]", "[::ffff:93.184.215.14]", "[64:ff9b::5db8:d70e]", "ex.com"],
)
def test_public_addresses_and_names_pass(host: str) -> None:
    RULES.check(f"https://{host}:8443/audio.mp3?token=1")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost"])
def test_names_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises(InvalidRequest, match="not public"):
        RULES.check(f"http://{host}/")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.com/a", "must be an http:// or https:// URL"),
        ("file:///etc/passwd", "must be an http"),
        ("/audio.mp3", "must be an http"),
        ("http:///audio.mp3", "must be an http"),
        ("http://ex ample/", "must be an http"),
        ("http://ex%00ample/", "must be an http"),
        ("http://[::1%25lo]/", "must be an http"),
        ("http://user:hidden@example.com/", "must not have a user name or password"),
        ("http://example.com\\@127.0.0.1/", "must not have a user name"),
        ("http://example.com:port/", "is not a URL"),
        ("http://example.com/\0", "is not a URL"),
        ("http://xn--zzzz-/", "is not a URL"),
        ("http://example.com:0/", "must have a port between 1 and 65535"),
        ("http://example.com:70000/", "must have a port"),
        ("", "must be an http"),
    ],
)
def test_a_url_that_could_not_be_meant_is_refused_by_the_name_of_its_field(url: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        RULES.check(url, param="webhook_url")

    assert refused.value.message.startswith(f"webhook_url {says}")
    assert refused.value.param == "webhook_url"
    assert "hidden" not in refused.value.message


def test_what_the_operator_allows_passes_and_nothing_beside_it() -> None:
    rules = AddressRules(["10.1.0.0/16", "fd00::/8", "127.0.0.1", "Hooks.Internal"])

    for host in ("10.1.2.3", "[fd00::1]", "127.0.0.1", "0x7f.1", "[::ffff:10.1.2.3]"):
        rules.check(f"http://{host}/")
    rules.check("http://hooks.internal./")
    rules.check_addresses("hooks.internal", ["192.168.1.1"])
    for host in ("10.2.0.1", "127.0.0.2"):
        with pytest.raises(InvalidRequest):
            rules.check(f"http://{host}/")
    with pytest.raises(InvalidRequest):
        rules.check_addresses("other.internal", ["192.168.1.1"])


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "http://hooks", "*.internal", "hooks:80", ""])
def test_an_allowance_that_means_nothing_is_a_mistake_of_the_settings(entry: str) -> None:
    with pytest.raises(ConfigError, match="neither a network"):
        AddressRules([entry])
