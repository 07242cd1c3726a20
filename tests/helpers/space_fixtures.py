"""The embedded motion space, a portrait and a source in it, and a pipeline of stand-ins.

Tests marked ``in_both_spaces`` see them in the space ``landmark`` too.
"""

import pytest
from fakes import SPACES, fake_pipeline, plain_portrait


@pytest.fixture(scope="session")
def space(request):
    return SPACES[getattr(request, "param", "facemesh")]()


@pytest.fixture(scope="session")
def source(space):
    return space.extract(plain_portrait(space, 256))


@pytest.fixture
def pipeline(space):
    return fake_pipeline(space)


@pytest.fixture(scope="session")
def portrait(space):
    return plain_portrait(space)
