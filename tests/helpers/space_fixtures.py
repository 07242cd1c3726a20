"""The embedded motion space and a source in it."""

import pytest
from fakes import facemesh_space, plain_portrait


@pytest.fixture(scope="session")
def space():
    return facemesh_space()


@pytest.fixture(scope="session")
def source(space):
    return space.extract(plain_portrait(space, 256))
