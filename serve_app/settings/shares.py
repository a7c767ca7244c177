"""How many chunks may be on their way to Recognizers, so that those of jobs never fill them."""

from __future__ import annotations

from serve_app.settings.tree import Settings

LEAST_BATCHES = 2
"""A job alone, in one Pipeline of many, fills a batch while another one runs."""
ROOM = 8


def chunks_of_jobs(settings: Settings) -> int:
    """
    What jobs may have under way from one Pipeline replica: its share of what keeps all Recognizers busy, the batches that run
    and one more for each to go on with; but never less than `LEAST_BATCHES`.
    """
    recognizer = settings.recognizer
    busy = recognizer.max_batch_size * (recognizer.batches_at_once + 1) * recognizer.max_replicas
    return max(LEAST_BATCHES * recognizer.max_batch_size, busy // settings.pipeline.max_replicas)


def chunks_of_a_recognizer(settings: Settings) -> int:
    """
    What one Recognizer replica takes in: all that jobs send, also while it is the only one that is up, and two batches of
    requests. What is above waits at the callers, where requests would stand behind jobs.
    """
    of_jobs = chunks_of_jobs(settings) * settings.pipeline.max_replicas
    return of_jobs + 2 * settings.recognizer.max_batch_size + ROOM
