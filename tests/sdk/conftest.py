"""
A service for the Node SDKs, and what they got from it.

The service is the application over the FakeTranscriber; with SERVICE_URL (and SERVICE_KEY) in the environment it is that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from serve_app.api.application import Services, create_app
from serve_app.api.auth import KeyRing
from serve_app.settings import TINY_EN, AuthSettings, ModelSettings, Settings
from serve_app.testing import FakeTranscriber, InMemoryMediaStore
from tests.loopback import Service, serving
from tests.recordings import DATA
from tests.sdk.node_runtime import Answers, Node, RunScript, find_node, install

SPEECH = DATA / "LJ001-0001.wav"
KEY = "sk-a-key-of-the-tests"
MULTILINGUAL = ModelSettings(source=TINY_EN.source)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if url := os.environ.get("SERVICE_URL"):
        yield Service(url.rstrip("/"), os.environ.get("SERVICE_KEY", ""))
        return
    keys = tmp_path_factory.mktemp("service") / "keys"
    keys.write_text(f"{KEY}\n")
    settings = Settings(
        models={"tiny.en": TINY_EN, "acme/multilingual": MULTILINGUAL}, auth=AuthSettings(api_key_file=str(keys))
    )
    store = InMemoryMediaStore()
    services = Services(
        settings=settings,
        transcriber=FakeTranscriber(read=store.read),
        media_store=store,
        api_keys=KeyRing(settings.auth),
    )
    with serving(create_app(services)) as url:
        yield Service(url, KEY)


@pytest.fixture(scope="session")
def node() -> Node:
    return find_node()


@pytest.fixture(scope="session")
def run_script(node: Node, service: Service) -> RunScript:
    """Runs a script of this directory on a recording; gives what each of its calls gave."""
    home = install(node)
    env = {"OPENAI_BASE_URL": f"{service.url}/v1", "OPENAI_API_KEY": service.key or "none"}
    return lambda script: Answers(node.run(home / script, str(SPEECH), env=env))
