"""What can be asked of a model's lifecycle."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from serve_app.api.forms import Fields
from serve_app.settings.section import NEVER


def _time_to_live(ttl_s: float) -> float:
    if ttl_s < 0 and ttl_s != NEVER:
        raise ValueError("should be a number of seconds, 0 or above, or -1 for ever")
    return ttl_s


class ModelWish(Fields):
    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str = ""
    """A model id or alias from `/v1/models`; the default model if absent."""


class LoadWish(ModelWish):
    """`POST /model/load`"""

    ttl_s: Annotated[float, Field(ge=NEVER, allow_inf_nan=False), AfterValidator(_time_to_live)] | None = None
    """How long it stays after its last use, in seconds; -1: for ever. `lifecycle.unload_after_s` if absent."""


class UnloadWish(ModelWish):
    """`POST /model/unload`"""

    force: bool = False
    """Cut off what uses it now: these requests are answered 503, and jobs begin again where they were."""


class PullWish(Fields):
    """`POST /v1/models/{model}`"""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stream: bool = False
    """Tell the progress as server-sent events; so does `Accept: text/event-stream`."""
