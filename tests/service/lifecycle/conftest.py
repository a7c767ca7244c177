from __future__ import annotations

import pytest

from tests.service.lifecycle.houses import FakeHouse, House


@pytest.fixture(params=[FakeHouse])
def house(request: pytest.FixtureRequest) -> House:
    made: House = request.param()
    return made
