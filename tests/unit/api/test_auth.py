"""The key ring, which follows its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serve_app.api.auth import KeyRing
from serve_app.errors import ConfigError
from serve_app.settings import ApiKey, AuthSettings, Scope


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("sk-one\nsk-two\n")
    return path


def ring(file: Path) -> KeyRing:
    return KeyRing(AuthSettings(api_key_file=str(file), api_key_env="NO_SUCH_NAME"))


def names(keys: KeyRing) -> set[str]:
    return {key.secret for key in keys()}


def test_keys_come_from_the_file(file: Path) -> None:
    assert names(ring(file)) == {"sk-one", "sk-two"}


def test_changed_file_is_read_again(file: Path) -> None:
    keys = ring(file)
    file.write_text("sk-three")

    assert names(keys) == {"sk-three"}


def test_replaced_file_is_read_again_even_with_the_same_time(file: Path) -> None:
    """Kubernetes swaps a link, and both files may be of the same second and size."""
    keys = ring(file)
    before = file.stat()
    other = file.with_name("other")
    other.write_text("sk-six\nsk-ten\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file)

    assert names(keys) == {"sk-six", "sk-ten"}


def test_file_that_vanished_leaves_the_keys_as_they_were(file: Path) -> None:
    keys = ring(file)
    file.unlink()

    assert names(keys) == {"sk-one", "sk-two"}


def test_file_that_came_back_is_read(file: Path) -> None:
    keys = ring(file)
    file.unlink()
    keys()
    file.write_text("sk-new")

    assert names(keys) == {"sk-new"}


def test_emptied_file_does_not_open_the_service(file: Path) -> None:
    keys = ring(file)
    file.write_text("")

    assert names(keys) == {"sk-one", "sk-two"}


def test_missing_file_at_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="api_key_file"):
        ring(tmp_path / "nowhere")


def test_without_a_file_nothing_is_read_again() -> None:
    reads: list[AuthSettings] = []

    def read(auth: AuthSettings) -> list[ApiKey]:
        reads.append(auth)
        return [ApiKey("sk")]

    keys = KeyRing(AuthSettings(), read)

    assert [names(keys), names(keys)] == [{"sk"}, {"sk"}]
    assert len(reads) == 1


def test_changed_file_of_admin_keys_gives_and_takes_the_scope(file: Path) -> None:
    admins = file.with_name("admins")
    admins.write_text("sk-one")
    keys = KeyRing(AuthSettings(api_key_file=str(file), api_key_env="NO_SUCH_NAME", admin_key_file=str(admins)))
    before = keys()
    admins.write_text("sk-three")

    assert {key.secret: key.may(Scope.ADMIN) for key in before} == {"sk-one": True, "sk-two": False}
    assert {key.secret for key in keys() if key.may(Scope.ADMIN)} == {"sk-three"}
    assert names(keys) == {"sk-one", "sk-two", "sk-three"}


def test_emptied_file_of_admin_keys_leaves_the_keys_as_they_were(file: Path) -> None:
    admins = file.with_name("admins")
    admins.write_text("sk-root")
    keys = KeyRing(AuthSettings(api_key_file=str(file), admin_key_file=str(admins), admin_key_env="NO_SUCH_NAME"))
    before = keys()
    admins.write_text("")

    assert keys() == before
