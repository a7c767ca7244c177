"""Self-hosted speech-to-text on Ray Serve, with an OpenAI-compatible audio API."""

__version__ = "0.1.0"
