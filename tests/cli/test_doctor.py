"""The doctor looks at everything once and says plainly what is wrong."""

import pytest
from fakes import facemesh_space, fake_pipeline

from kptalk.cli import doctor
from kptalk.errors import MotionError, WeightsError
from kptalk.version import __version__


@pytest.fixture
def healthy(monkeypatch):
    """An installation whose weights are whole; the models are stand-ins."""
    pipeline = fake_pipeline(facemesh_space())
    monkeypatch.setattr(doctor.Pipeline, "from_pretrained", lambda *_: pipeline)
    return pipeline


def findings():
    return {finding.what: finding for finding in doctor.examine()}


def test_a_healthy_installation(healthy):
    found = findings()
    assert list(found) == ["kptalk", "packages", "device", "face finder", "embedded weights", "one second drawn"]
    assert all(finding.ok for finding in found.values())
    assert __version__ in found["kptalk"].detail
    assert "torch " in found["packages"].detail
    assert "threads" in found["device"].detail
    assert found["one second drawn"].detail.startswith("25 frames in ")
    assert all("\n" not in finding.detail for finding in found.values())


def test_missing_weights_are_reported_and_nothing_is_drawn(monkeypatch):
    def missing(*_):
        raise WeightsError("no embedded weights 'motion' in this installation; there are: facemesh")

    monkeypatch.setattr(doctor.Pipeline, "from_pretrained", missing)
    found = findings()
    assert not found["embedded weights"].ok
    assert "no embedded weights 'motion'" in found["embedded weights"].detail
    assert "one second drawn" not in found


def test_missing_weights_are_found_in_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr("kptalk.weights.header.files", lambda _: tmp_path)
    assert not findings()["embedded weights"].ok


def test_missing_packages_are_named(healthy, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    found = findings()["packages"]
    assert not found.ok
    assert "missing: no-such-package" in found.detail


def test_a_face_finder_that_does_not_start(healthy, monkeypatch):
    def broken():
        raise WeightsError("weights networks.safetensors are damaged")

    monkeypatch.setattr(doctor, "FaceMesh", broken)
    found = findings()
    assert not found["face finder"].ok
    assert "damaged" in found["face finder"].detail
    assert found["embedded weights"].ok


def test_drawing_that_fails_is_no_fault_of_the_weights(healthy, monkeypatch):
    def fail(motion, state):
        raise MotionError("wrong space")

    monkeypatch.setattr(healthy.method.renderer, "step", fail)
    found = findings()
    assert found["embedded weights"].ok
    assert not found["one second drawn"].ok
