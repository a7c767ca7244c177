"""What strangers reach of a real service, and what they can read of it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from tests.cluster.running import KEY, Service, config_file, running

ADMIN = "sk-sentinel-of-the-admin"
WEBHOOK_SECRET = "whsec_c2VudGluZWwtb2YtdGhlLXdlYmhvb2tzLTAxMjM0NTY3"
SECRETS = (KEY, ADMIN, WEBHOOK_SECRET)
AGENT_PORT = 52365  # of Ray's agent, unless it is told another
ENOUGH_BYTES = 64_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exposed")


@pytest.fixture(scope="module")
def exposed(folder: Path) -> Iterator[Service]:
    with running(config_file(folder), ADMIN_API_KEY=ADMIN, WEBHOOK_SECRET=WEBHOOK_SECRET) as started:
        yield started


def family(service: Service) -> list[psutil.Process]:
    root = psutil.Process(service.process.pid)
    return [root, *root.children(recursive=True)]


def listening(service: Service) -> list[tuple[str, str, int]]:
    """Name of the process, address and port of each."""
    found = []
    for process in family(service):
        with contextlib.suppress(psutil.Error):
            for socket_ in process.net_connections("inet"):
                if socket_.status == psutil.CONN_LISTEN or socket_.type == socket.SOCK_DGRAM:
                    found.append((process.name(), socket_.laddr.ip, socket_.laddr.port))
    return found


def is_loopback(address: str) -> bool:
    parsed = ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def proxy_of(service: Service) -> psutil.Process:
    for process in family(service):
        with contextlib.suppress(psutil.Error):
            if "ProxyActor" in process.name():
                return process
    raise AssertionError("there is no proxy")


def command_lines(service: Service) -> list[str]:
    found = []
    for process in family(service):
        with contextlib.suppress(psutil.Error):  # one that ends while it is looked at
            found.append(" ".join(process.cmdline()))
    return found


def texts_in(*roots: Path) -> list[str]:
    """Of all files but the config, and but those that are deleted while they are looked for."""
    paths = [Path(folder, name) for root in roots for folder, _, names in os.walk(root) for name in names]
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.name != "config.yaml":
                found.append(path.read_bytes().decode("latin-1"))
    return found


def test_all_listens_on_loopback_but_the_guarded_ports_of_replicas(exposed: Service) -> None:
    """Serve gives each replica a gRPC port on all addresses, with no setting for it: these ask for Ray's token."""
    open_to_others = [(name, port) for name, address, port in listening(exposed) if not is_loopback(address)]

    assert len(listening(exposed)) > 10
    assert {name.split(":")[2] for name, _ in open_to_others} == {"ServeReplica"}
    for _, port in open_to_others:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_no_port_runs_code_for_who_has_no_token(exposed: Service) -> None:
    agents = [port for name, _, port in listening(exposed) if "DashboardAgent" in name]
    answers = {}
    for port in agents:
        with contextlib.suppress(httpx.HTTPError):  # not all of them speak HTTP
            url = f"http://127.0.0.1:{port}/api/job_agent/jobs/"
            answers[port] = httpx.post(url, json={"entrypoint": "id"}, timeout=30).status_code

    assert answers
    assert all(status >= 400 for status in answers.values())
    # The port that would run it has one number on each machine, and the first Ray on it has that.
    assert answers.get(AGENT_PORT, 401) == 401


def test_no_secret_is_in_a_command_line_a_log_or_a_file(exposed: Service, folder: Path) -> None:
    wrong = httpx.get(f"{exposed.url}/v1/models", headers={"Authorization": f"Bearer {KEY}wrong"}, timeout=30)
    right = httpx.get(f"{exposed.url}/v1/models", headers={"Authorization": f"Bearer {ADMIN}"}, timeout=30)
    environment = proxy_of(exposed).environ()
    token = environment["RAY_AUTH_TOKEN"]
    lines, texts = command_lines(exposed), texts_in(folder, Path(environment["RAY_TMPDIR"]))

    assert (wrong.status_code, right.status_code) == (401, 200)
    assert len(texts) > 10
    assert len(lines) > 4
    for secret in (*SECRETS, token):
        assert not any(secret in text for text in (*lines, *texts, wrong.text, exposed.log.read_text()))


def test_data_is_not_for_other_users_of_the_machine(exposed: Service, folder: Path) -> None:
    data = [path for path in (folder / "data").rglob("*") if not path.is_symlink()]

    assert data
    assert [path for path in data if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH)] == []


def test_unfinished_header_does_not_fill_the_proxys_memory(exposed: Service) -> None:
    proxy = proxy_of(exposed)
    before = proxy.memory_info().rss
    sent = 0
    host, port = exposed.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as stranger, contextlib.suppress(OSError):
        stranger.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
        while sent < ENOUGH_BYTES:
            sent += stranger.send(b"a" * 1_000_000)

    assert sent < ENOUGH_BYTES
    assert proxy.memory_info().rss - before < ENOUGH_BYTES / 2


def test_large_head_is_refused_in_the_envelope(exposed: Service) -> None:
    answer = httpx.get(f"{exposed.url}/health", headers={f"x-{n}": "a" for n in range(200)}, timeout=30)

    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "headers_too_large")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_many_silent_connections_keep_nobody_out(exposed: Service) -> None:
    host, port = exposed.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as silent:
        for _ in range(500):
            silent.enter_context(socket.create_connection((host, int(port))))

        assert httpx.get(f"{exposed.url}/health", timeout=30).status_code == 200


def test_stranger_who_announces_large_bodies_keeps_nobody_out(exposed: Service) -> None:
    """Each is answered before its body is read, so that it holds nothing of what all bodies may be together."""
    host, port = exposed.url.removeprefix("http://").split(":")
    head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with contextlib.ExitStack() as strangers:
        answers = []
        for _ in range(20):
            stranger = strangers.enter_context(socket.create_connection((host, int(port)), timeout=30))
            stranger.sendall(head + b"Content-Length: 100000000\r\n\r\n--b\r\n")
            answers.append(stranger.recv(12))

        headers = {"Authorization": f"Bearer {KEY}"}
        served = httpx.post(f"{exposed.url}/jobs", headers=headers, files={"audio": b"x"}, timeout=30)

    assert {answer.split()[1] for answer in answers} == {b"401"}
    assert served.status_code == 202
