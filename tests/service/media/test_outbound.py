"""The client for foreign addresses connects to what was checked."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serve_app.errors import InvalidRequest
from serve_app.media.addresses import AddressRules
from serve_app.media.outbound import outbound_client
from tests.service.media.servers import answer, listening

OK = answer("200 OK", body=b"sound")
HERE = AddressRules(["127.0.0.1"])
HOUR = timedelta(hours=1)


class Resolver:
    """Gives each question the next answer; the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


async def test_a_second_answer_of_the_name_server_changes_nothing() -> None:
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    async with listening(OK) as server, outbound_client(HERE, resolve=resolver) as client:
        url = f"http://rebinding.example:{server.port}/"
        response = await client.get(url)
        assert (response.text, resolver.asked) == ("sound", ["rebinding.example"])

        with pytest.raises(InvalidRequest, match="not public"):
            await client.get(url)

    assert len(server.requests) == 1


async def test_a_private_answer_among_public_ones_is_refused_before_any_connection() -> None:
    resolver = Resolver(["93.184.215.14", "10.0.0.1"])
    async with outbound_client(AddressRules(), resolve=resolver) as client:
        with pytest.raises(InvalidRequest, match="not public"):
            await client.get("http://mixed.example/")


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/", "http://inner.example/", "ftp://a/"],
)
async def test_a_redirect_to_a_forbidden_address_is_refused(location: str) -> None:
    resolver = Resolver(["127.0.0.1"], ["192.168.0.1"])
    redirect = answer("302 Found", f"location: {location}")
    async with listening(redirect) as server, outbound_client(HERE, resolve=resolver) as client:
        with pytest.raises(InvalidRequest):
            await client.get(f"http://outer.example:{server.port}/", follow_redirects=True)


async def test_redirects_come_to_an_end() -> None:
    async with listening(answer("302 Found", "location: /again")) as server, outbound_client(HERE) as client:
        with pytest.raises(httpx.TooManyRedirects):
            await client.get(server.url, follow_redirects=True)

    assert len(server.requests) == 6


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    rules = AddressRules(["127.0.0.0/8"])
    resolver = Resolver(["127.0.0.9", "127.0.0.1"])
    async with listening(OK) as server, outbound_client(rules, resolve=resolver) as client:
        assert (await client.get(f"http://two.example:{server.port}/")).text == "sound"
        with pytest.raises(httpx.ConnectError):
            await client.get("http://two.example:1/")


async def test_a_name_that_leads_nowhere_is_a_failed_connection() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    async with outbound_client(AddressRules(), resolve=nowhere) as client:
        with pytest.raises(httpx.ConnectError, match="leads nowhere"):
            await client.get("http://missing.example/")


async def test_the_systems_resolver_is_asked_for_allowed_names() -> None:
    async with listening(OK) as server, outbound_client(AddressRules(["localhost"])) as client:
        assert (await client.get(f"http://localhost:{server.port}/")).text == "sound"

    assert f"host: localhost:{server.port}" in server.requests[0].lower()


async def test_neither_proxies_of_the_environment_nor_cookies_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    cookie = answer("200 OK", "set-cookie: session=1; path=/")
    async with listening(cookie) as server, outbound_client(HERE) as client:
        await client.get(server.url)
        await client.get(server.url)

    assert "cookie" not in server.requests[1].lower()


async def test_certificates_are_checked_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    theirs, trusted = certificate("audio.example", tmp_path)
    resolver = Resolver(["127.0.0.1"])
    async with listening(OK, tls=theirs) as server, outbound_client(HERE, resolve=resolver, verify=trusted) as client:
        assert (await client.get(f"https://audio.example:{server.port}/")).text == "sound"
        with pytest.raises(httpx.ConnectError, match=r"not valid for 'other\.example'"):
            await client.get(f"https://other.example:{server.port}/")


def certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server of that name, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, now + HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))
