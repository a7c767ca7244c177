"""A client over a made-up service, whose time passes only when it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from serve_app.cli.remote import Remote, ServiceClient
from serve_app.testing import FakeClock

Handler = Callable[[httpx.Request], httpx.Response]


class PatientClient(ServiceClient):
    """
    Attributes:
        waits: How long it waited each time, in seconds.
    """

    def __init__(self, handler: Handler, **options: Any) -> None:
        clock = FakeClock()
        self.waits: list[float] = []

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)
            clock.advance(seconds)

        super().__init__(
            Remote("http://service", "key"),
            transport=httpx.MockTransport(handler),
            sleep=sleep,
            clock=clock,
            **options,
        )


def problem(status: int, message: str = "No.", code: str = "some_code", **headers: str) -> httpx.Response:
    body = {"error": {"message": message, "type": "t", "param": None, "code": code}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


class Script:
    """Answers with what it was given, in turn; raises what is an exception."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
