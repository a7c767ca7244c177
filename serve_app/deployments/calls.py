"""Calls of other deployments: cancelled by who cancels, with our errors as they were, and patient with a Coordinator that is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.errors import CoordinatorUnavailable, RayscribeError, Unavailable

DIED = (RayActorError, WorkerCrashedError, DeploymentUnavailableError)
COORDINATOR = "Coordinator"

AWAY_S = 15.0  # how long a call waits for a Coordinator that died; a new one takes some seconds less to start
AGAIN_S = 0.5  # between two tries


class PerModel:
    """
    A method of the Recognizer deployment, called at a replica that has the model, if there is one.

    Handles are kept, because it takes a while to configure one.
    """

    def __init__(self, handle: DeploymentHandle[Any], method: str) -> None:
        self._handle = handle.options(method_name=method)
        self._for_model: dict[str, DeploymentHandle[Any]] = {}

    def remote(self, model_id: str, *arguments: Any) -> Any:
        """A `DeploymentResponse`."""
        if model_id not in self._for_model:
            self._for_model[model_id] = self._handle.options(multiplexed_model_id=model_id)
        return self._for_model[model_id].remote(*arguments)


def coordinator_of(app_name: str) -> DeploymentHandle[Any]:
    """
    The Coordinator, for who cannot be given its handle because it is given theirs: Serve binds no circles.

    It is not checked that there is one: that would ask the controller, and block while it is away.
    """
    return serve.get_deployment_handle(COORDINATOR, app_name, _check_exists=False)


async def slice_of(events: Any) -> AsyncGenerator[Any, None]:
    """A slice of events; it ends early when the Coordinator dies, and the next one waits for the next Coordinator."""
    try:
        async for event in events:
            yield event
    except RayTaskError as error:
        raise ours(error) from None
    except DIED:
        await asyncio.sleep(AGAIN_S)
    finally:
        events.cancel()


async def ask_coordinator(handle: DeploymentHandle[Any], verb: str, *arguments: Any) -> Any:
    """
    Raises:
        CoordinatorUnavailable: It did not come back in time.
    """
    try:
        async with asyncio.timeout(AWAY_S):
            return await until_answered(lambda: getattr(handle, verb).remote(*arguments))
    except TimeoutError:
        raise CoordinatorUnavailable(
            "The process that keeps jobs and the states of models is starting again; try again.", retry_after_s=10
        ) from None


async def until_answered(ask: Callable[[], Any], also: tuple[type[Unavailable], ...] = ()) -> Any:
    """Ask until there is an answer, also one that is an error, but none of those that pass."""
    while True:
        with contextlib.suppress(CoordinatorUnavailable, *DIED, *also):
            return await answer(ask())
        await asyncio.sleep(AGAIN_S)


async def answer(response: Any) -> Any:
    """What a `DeploymentResponse` answers; cancelling this cancels the call, which Serve does not by itself."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except RayTaskError as error:
        raise ours(error) from None


def ours(error: RayTaskError) -> Exception:
    """What was raised on the other side: ours as it was, a foreign one as Ray shows it."""
    return error.cause if isinstance(error.cause, RayscribeError) else error
