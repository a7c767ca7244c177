from __future__ import annotations

import pytest

from tests.service.lifecycle.houses import FakeHouse, House, RegistryHouse


@pytest.fixture(params=[FakeHouse, RegistryHouse])
def house(request: pytest.FixtureRequest) -> House:
    made: House = request.param()
    return made
