"""On which nodes of a Ray cluster replicas may run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serve_app.settings.section import Section

Resources = dict[Annotated[str, Field(min_length=1)], Annotated[float, Field(gt=0)]]


class PlacementSettings(Section):
    """
    Ray's custom resources, which nodes declare and replicas take: `{cpu_node: 0.01}` runs only where a `cpu_node` is.

    Empty: on any node with CPUs and GPUs enough. Where GPU nodes come and go, all but the Recognizer must be kept off them, for
    a node with a replica on it never goes.
    """

    gateway: Resources = Field(default_factory=dict)
    """Custom resources that each Gateway replica takes, by name."""
    pipeline: Resources = Field(default_factory=dict)
    """The same for each Pipeline replica."""
    coordinator: Resources = Field(default_factory=dict)
    """The same for the Coordinator."""
    recognizer: Resources = Field(default_factory=dict)
    """The same for each Recognizer replica."""
