"""What is sent to Serve's controller is what Serve's own multiplexing would send; no cluster is started."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve import multiplex
from ray.serve._private.common import DeploymentID, ReplicaID, RequestRoutingInfo
from ray.serve.context import ReplicaContext

from serve_app.deployments import advertising

REPLICA = ReplicaID("replica", DeploymentID("Recognizer", "rayscribe"))


class Client:
    """In place of the controller's."""

    def __init__(self) -> None:
        self.sent: list[RequestRoutingInfo] = []

    def record_request_routing_info(self, info: RequestRoutingInfo) -> None:
        self.sent.append(info)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    context = ReplicaContext.__new__(ReplicaContext)
    context.replica_id = REPLICA
    for module in (advertising, multiplex):
        monkeypatch.setattr(module, "_get_global_client", lambda **_: client)
    monkeypatch.setattr(advertising, "get_replica_context", lambda: context)
    return client


async def test_models_are_advertised_as_serve_itself_advertises_them(client: Client) -> None:
    serves_own: Any = multiplex._ModelMultiplexWrapper.__new__(multiplex._ModelMultiplexWrapper)
    serves_own.models, serves_own._model_load_tasks, serves_own._replica_id = {"base": object()}, set(), REPLICA
    serves_own.num_models_gauge = serves_own.registered_model_gauge = Gauge()
    serves_own._push_multiplexed_replica_info = True
    serves_own._push_model_ids_info()

    await advertising.advertise({"base"})

    assert len(client.sent) == 2
    assert client.sent[0] == client.sent[1]


class Gauge:
    def set(self, *_: object, **__: object) -> None: ...
