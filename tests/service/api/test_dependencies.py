"""What a request waits for before its route is called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from serve_app.api import audio, jobs, lifecycle, metrics, models, system, tus

ROUTES = [route for part in (audio, jobs, tus, models, lifecycle, system, metrics) for route in part.router.routes]


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_no_dependency_waits_for_a_thread(route: APIRoute) -> None:
    functions = [function for function in calls(route.dependant) if inspect.isfunction(function)]

    assert functions
    for function in functions:
        assert inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function), function.__qualname__


def calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for dependency in dependant.dependencies:
        yield from calls(dependency)
