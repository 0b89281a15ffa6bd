import pytest

from tests.model.plan.models import PEOPLE, Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def people():
    return PEOPLE.copy()
