"""
Tells Serve's router which models a replica has, so that calls with a multiplexed model id come to it first.

`serve.multiplexed` would do so too, but it also owns the models: it destroys those in use, loads one at a time, and goes on
naming one whose load was cancelled. So this sends what it would send, by Ray's private way; a test holds the two together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from ray.serve import get_replica_context
from ray.serve._private.common import RequestRoutingInfo
from ray.serve.context import _get_global_client


async def advertise(model_ids: Collection[str]) -> None:
    """All models of the replica that this process is."""
    await asyncio.to_thread(_advertise, model_ids)  # blocks while the controller is looked for


def _advertise(model_ids: Collection[str]) -> None:
    replica_id = get_replica_context().replica_id
    info = RequestRoutingInfo(replica_id=replica_id, multiplexed_model_ids=sorted(model_ids))
    if client := _get_global_client(raise_if_no_controller_running=False):
        client.record_request_routing_info(info)
