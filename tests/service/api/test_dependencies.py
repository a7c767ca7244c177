"""What a request waits for before its route is called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from serve_app.api import audio, jobs
from serve_app.api.auth import authorise

READS_A_FILE = {authorise}


@pytest.mark.parametrize("route", [*audio.router.routes, *jobs.router.routes], ids=str)
def test_no_dependency_waits_for_a_thread_that_does_not_read_a_file(route: APIRoute) -> None:
    functions = [function for function in calls(route.dependant) if inspect.isfunction(function)]

    assert functions
    for function in set(functions) - READS_A_FILE:
        assert inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function), function.__qualname__


def calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for dependency in dependant.dependencies:
        yield from calls(dependency)
