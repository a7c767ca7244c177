"""The review of the locks finds what should not be installed."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from tools.review_locks import ROOT, Requirement, flaws_of_installed, flaws_of_lock, licences, main, requirements

HASH = "--hash=sha256:" + "0" * 64
GOOD = f"av==17.0.0 \\\n    {HASH} \\\n    {HASH}\ncolorama==0.4.6 ; sys_platform == 'win32' \\\n    {HASH}\n"


class Installed(Distribution):
    """A distribution that says what a test wants."""

    def __init__(self, version: str = "1", **fields: str | list[str]) -> None:
        self._message = Message()
        for name, values in {"Version": version, **fields}.items():
            for value in [values] if isinstance(values, str) else values:
                self._message[name.replace("_", "-")] = value

    @property
    def metadata(self) -> Any:
        return self._message

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: Any) -> Path:
        return Path(path)


def test_the_locks_of_this_repository_have_no_flaw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().err
    assert len([*ROOT.glob("requirements*.txt")]) >= 2


def test_pinned_and_hashed_lines_are_read() -> None:
    assert flaws_of_lock("lock", GOOD) == []
    assert [*requirements(GOOD)] == [
        Requirement("av", "17.0.0", ""),
        Requirement("colorama", "0.4.6", " ; sys_platform == 'win32'"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "av==17.0.0",
        f"av>=17 {HASH}",
        f"av {HASH}",
        f"av @ https://example.com/av.whl {HASH}",
        f"https://example.com/av.whl {HASH}",
        f"git+https://example.com/av.git {HASH}",
        f"./av.whl {HASH}",
        "-e .",
        "-i elsewhere",
        "-f elsewhere",
        "-r other.txt",
        "av==17.0.0 --hash=md5:" + "0" * 32,
        f"av==17.0.0 ; python_version > '3' @ x {HASH}",
    ],
)
def test_what_could_install_something_else_is_a_flaw(line: str) -> None:
    assert flaws_of_lock("lock", f"{GOOD}{line}\n") == [f"lock: not a version with its hashes: {line[:80]}"]


def test_empty_lock_is_a_flaw() -> None:
    assert flaws_of_lock("lock", "\n") == ["lock: empty"]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"License_Expression": "MIT"}, {"MIT"}),
        ({"License_Expression": "(Apache-2.0 OR BSD-2-Clause) AND MIT"}, {"Apache-2.0", "BSD-2-Clause", "MIT"}),
        ({"License_Expression": "MIT AND GPL-3.0-only"}, {"MIT", "GPL-3.0-only"}),
        ({"Classifier": ["License :: OSI Approved :: MIT License", "Topic :: X"]}, {"MIT License"}),
        ({"Classifier": "License :: OSI Approved", "License": "BSD"}, set()),
        ({"License": "Apache 2.0\nlong text"}, {"Apache 2.0"}),
        ({}, set()),
    ],
)
def test_licences_are_read_wherever_they_stand(fields: dict[str, Any], found: set[str]) -> None:
    assert licences(Installed(**fields)) == found


@pytest.mark.parametrize("fields", [{"License_Expression": "MIT AND AGPL-3.0-only"}, {"License": "Proprietary"}, {}])
def test_licence_that_nobody_agreed_to_is_a_flaw(fields: dict[str, Any]) -> None:
    (flaw,) = flaws_of_installed({"new": {"1"}}, {"new": Installed(**fields)})

    assert flaw.startswith("new: licence")


def test_installed_otherwise_than_locked_is_a_flaw() -> None:
    (flaw,) = flaws_of_installed({"new": {"2"}}, {"new": Installed("1", License="MIT")})

    assert flaw == "new: 1 is installed, and locked is 2"


def test_what_is_not_locked_is_nobodys_business_here() -> None:
    assert flaws_of_installed({}, {"pip": Installed()}) == []
