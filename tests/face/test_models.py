"""The face networks' weights: the file that belongs to the code, loaded once."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from media_shared import TESTS
from safetensors import safe_open

from kptalk.errors import WeightsError
from kptalk.face import models
from kptalk.face.models import NETWORKS, WEIGHTS, load_network
from kptalk.networks.selfie import SelfieSegmentation


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(models, "_loaded", {})


def test_the_file_says_what_it_is():
    with safe_open(WEIGHTS, "pt") as file:
        origin = file.metadata()["origin"]
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    for part in ("mediapipe 0.10.21", "Apache-2.0", "converted to safetensors, sparse kernels made dense", ".tflite"):
        assert part in origin
    assert WEIGHTS.stat().st_size < 4e6


def test_the_notice_names_the_same_files():
    notice = (TESTS.parent / "NOTICE").read_text()
    with safe_open(WEIGHTS, "pt") as file:
        origin = file.metadata()["origin"]
    files = set(re.findall(r"\w+/\w+\.tflite", origin))
    assert len(files) == len(NETWORKS)
    assert set(re.findall(r"\w+/\w+\.tflite", notice)) == files


@pytest.mark.parametrize("network_class", NETWORKS.values())
def test_networks_are_ready_for_use(network_class):
    network = load_network(network_class)
    assert not network.training
    for parameter in network.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.ndim < 4 or parameter.is_contiguous(memory_format=torch.channels_last)


def test_threads_share_one_network(nothing_loaded):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_network(SelfieSegmentation), range(4)))
    assert len(set(map(id, found))) == 1


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_a_damaged_file_is_refused(nothing_loaded, monkeypatch, tmp_path, content):
    path = tmp_path / "networks.safetensors"
    if content is not None:
        path.write_bytes(WEIGHTS.read_bytes()[:-1] + b"\xff" if content else b"")
    monkeypatch.setattr(models, "WEIGHTS", path)
    with pytest.raises(WeightsError, match=r"networks\.safetensors.*install kptalk anew"):
        load_network(SelfieSegmentation)
