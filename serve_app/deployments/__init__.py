"""
The Ray classes: thin shells around the plain parts, and the handles by which they reach one another.

No logic lives here. A `…Replica` makes its parts from the settings in its constructor, and a `Handle…` makes a Serve handle
look like the Protocol behind it: it cancels what its caller cancels (Serve does not), translates Ray's errors into ours at
the border, and sends a chunk again when the replica that had it died.

The parts are imported where they are made, so that each process loads its own part's libraries and no other's: a Gateway
without CTranslate2 starts sooner and is smaller.
"""

from serve_app.deployments.calls import COORDINATOR
from serve_app.deployments.coordinator_replica import CoordinatorReplica
from serve_app.deployments.gateway_replica import GatewayReplica
from serve_app.deployments.pipeline_replica import PipelineReplica
from serve_app.deployments.recognizer_replica import RecognizerReplica

__all__ = ["COORDINATOR", "CoordinatorReplica", "GatewayReplica", "PipelineReplica", "RecognizerReplica"]
