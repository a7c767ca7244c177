"""Processes that can reach nothing but loopback, and what they tried all the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A new network namespace has a loopback interface that is down; iproute2, which would raise it, is not on every machine.
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1))  # SIOCSIFFLAGS, IFF_UP
os.execvp(sys.argv[1], sys.argv[1:])
"""
NOWHERE = ("unshare", "--net", sys.executable, "-c", LOOPBACK_UP)

# A name that is looked up is a `connect` of a datagram socket, or a datagram that names its target.
_TARGET = re.compile(r'\b(connect|sendto|sendmmsg|sendmsg)\(.*?inet_(?:addr\(|pton\(AF_INET6, )"([^"]+)"')


def why_not() -> str | None:
    """Why nothing can be cut off and watched on this machine; None if it can."""
    if missing := [tool for tool in ("unshare", "strace") if shutil.which(tool) is None]:
        return f"{', '.join(missing)} missing: apt-get install strace"
    ended = subprocess.run([*NOWHERE, *watched(Path(os.devnull)), "true"], capture_output=True, check=False)
    return None if ended.returncode == 0 else "network namespaces and tracing need root"


def watched(log: Path) -> Sequence[str]:
    """What to put before a command, to have where it and all that it starts turn to; its process stays the one that is started."""
    return ("strace", "-D", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-o", str(log))


def cut_off(*command: str, cwd: Path = ROOT, timeout_s: float = 280, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a network of its own, where there is nobody else."""
    return subprocess.run(
        [*NOWHERE, *command],
        cwd=cwd,
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def attempts(log: Path) -> Iterator[str]:
    """The calls that turned to an address other than loopback."""
    for line in log.read_text(errors="replace").splitlines():
        found = _TARGET.search(line)
        if found and not _is_here(found[2]):
            yield line


def _is_here(address: str) -> bool:
    ip = ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
