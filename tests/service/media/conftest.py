"""An S3 server for the tests of media stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.s3 import BUCKET, client_of, running_s3


@pytest.fixture(scope="session")
def s3_variables() -> Iterator[Mapping[str, str]]:
    with running_s3() as variables:
        yield variables


@pytest.fixture
def s3(s3_variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client that sees what really lies in the bucket."""
    for name, value in s3_variables.items():
        monkeypatch.setenv(name, value)
    client = client_of(s3_variables)
    client.create_bucket(Bucket=BUCKET)
    yield client
    for listed in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=listed["Key"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()
