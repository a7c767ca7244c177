"""What the service says about itself: counts, logs and traces, without a word of anybody's transcript."""

from serve_app.telemetry.logs import Origin, configure_logging

__all__ = ["Origin", "configure_logging"]
