"""schemathesis: requests made from the document itself find no 5xx and nothing that it does not say."""

from __future__ import annotations

import atexit
import tempfile
from pathlib import Path

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve_app.testing import silent_wav
from tests.service.api.conftest import SETTINGS
from tests.service.api.job_house import House

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DATA_DIR = tempfile.TemporaryDirectory()
atexit.register(DATA_DIR.cleanup)  # schemathesis makes its tests when the module is read, before any fixture

# Offline, so that no name that is made up is looked for at a hub.
HOUSE = House(Path(DATA_DIR.name), slice_s=0.0, settings=SETTINGS.model_copy(update={"offline": True}))

schema = schemathesis.openapi.from_asgi("/openapi.json", HOUSE.app).exclude(path="/model/events")  # it has no end


@schema.parametrize()
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_what_the_document_says(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS)


@schema.include(path_regex="/v1/audio/").parametrize()
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_about_real_audio_are_what_the_document_says(case: schemathesis.Case) -> None:
    if isinstance(case.body, dict):
        case.body |= {"file": silent_wav(0.5), "model": "acme/large"}
    case.call_and_validate(checks=CHECKS)
