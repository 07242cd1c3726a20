"""The converter makes the very file that the package has."""

import importlib.util
from pathlib import Path

import pytest

from kptalk.face.models import WEIGHTS

SCRIPT = Path(__file__).parents[2] / "training" / "convert_mediapipe.py"


@pytest.fixture(scope="module")
def converter():
    pytest.importorskip("tflite", reason="the converter needs the package tflite")
    spec = importlib.util.spec_from_file_location("convert_mediapipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models():
    """``site-packages``, where MediaPipe with its models is in it."""
    found = importlib.util.find_spec("mediapipe")
    if found is None or not Path(found.origin).parent.joinpath("modules/face_landmark").is_dir():
        pytest.skip("MediaPipe 0.10.21 is not installed")
    return Path(found.origin).parents[1]


@pytest.mark.slow
def test_the_package_has_what_the_converter_writes(converter, models, tmp_path):
    converter.main(models, tmp_path / "networks.safetensors")
    assert (tmp_path / "networks.safetensors").read_bytes() == WEIGHTS.read_bytes()
