"""What Serve logs of calls that fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from serve_app.deployments.logs import is_fault
from serve_app.errors import OutOfMemory


@pytest.fixture
def serve_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.serve")
    logger.addFilter(is_fault)
    yield logger
    logger.removeFilter(is_fault)


def _fail(logger: logging.Logger, error: Exception) -> None:
    logger.error("Request failed.", exc_info=error)


def test_an_answer_that_is_an_error_of_ours_is_no_fault_of_a_replica(
    serve_logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    _fail(serve_logger, OutOfMemory("The model waits for GPU memory that others hold."))

    assert not caplog.records


def test_what_nobody_meant_to_happen_is_logged(serve_logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    _fail(serve_logger, ZeroDivisionError())
    serve_logger.error("the proxy is gone")

    assert [record.message for record in caplog.records] == ["Request failed.", "the proxy is gone"]
