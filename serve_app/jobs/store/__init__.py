"""
The seam of what keeps jobs: what each part asks of a store, and the `JobStore` that can do all of it.

Each asks for the Protocol of its own role, and gets whatever has its verbs; only the Coordinator, who opens the store, sees all
of it.
"""

from __future__ import annotations

from typing import Protocol

from serve_app.jobs.store.deliveries import AnnouncementStore, DeliveryStore
from serve_app.jobs.store.leading import LeadershipStore
from serve_app.jobs.store.lookout import LookoutStore
from serve_app.jobs.store.queue import QueueStore
from serve_app.jobs.store.retention import RetentionStore
from serve_app.jobs.store.service import ServiceStore


class JobStore(
    ServiceStore, QueueStore, DeliveryStore, AnnouncementStore, RetentionStore, LeadershipStore, LookoutStore, Protocol
):
    """
    Where jobs, their checkpoints, events and deliveries lie.

    Every verb is one transaction, and what it wrote is durable when it returns. The state machine:

        queued ⇄ running → done | failed
          └────────┴─────→ cancelled

    `claim` takes the lease; `release`, `fail`, `cancel`, `take_over` and the last step that is recorded end it. A verb that takes
    a lease changes nothing unless the job is running under that very lease and it has not expired.

    Events: `submit` writes `queued`; a new chunk writes a `segment` for each of its segments (data: the segment with its
    running `index`) and, when it changed, `progress` (data: `percent`); the end writes `done`, `failed` or `cancelled`.

    Deliveries: the end of a job with a `webhook_url` makes one, due at once, in the same transaction. A `webhook_url` of a job
    that `tells_of_models` is kept, also when the job is purged: each announcement makes a delivery to every such address.

    Raises:
        StoreUnavailable: By every verb: the disk is full or read-only, the database is away or damaged; says what to do.
    """

    async def close(self) -> None: ...
