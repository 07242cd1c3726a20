"""The face networks with their weights: loaded once per process and device, when they are first needed."""

import hashlib
from pathlib import Path
from threading import Lock
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from kptalk.errors import WeightsError
from kptalk.files import explain
from kptalk.networks.face_detector import FullRangeDetector, ShortRangeDetector
from kptalk.networks.face_landmarks import FaceLandmarkNetwork
from kptalk.networks.no_init import NoInit
from kptalk.networks.selfie import SelfieSegmentation

WEIGHTS = Path(__file__).with_name("networks.safetensors")  # made by training/convert_mediapipe.py; see NOTICE
DIGEST = "86a4123fa8b5af382029d9b72409c7db99763bb0ae1ef616c51dd1a2bf05e054"
NETWORKS: dict[str, type[nn.Module]] = {
    "short_range": ShortRangeDetector,
    "full_range": FullRangeDetector,
    "landmarks": FaceLandmarkNetwork,
    "selfie": SelfieSegmentation,
}
Network = TypeVar("Network", bound=nn.Module)

_lock = Lock()
_loaded: dict[tuple[type[nn.Module], torch.device], nn.Module] = {}


def load_network(network_class: type[Network], device: torch.device | str = "cpu") -> Network:
    """A network of ``NETWORKS`` in float32 and channels-last layout, in eval mode; the same one for every caller.

    Raises:
        WeightsError: the file beside this one is absent or not the one that belongs to this version.
    """
    key = network_class, torch.device(device)
    with _lock:
        if key not in _loaded:
            with torch.inference_mode():
                _loaded[key] = _read(network_class).to(key[1]).eval()
        network = _loaded[key]
    assert isinstance(network, network_class)
    return network


def _read(network_class: type[Network]) -> Network:
    prefix = next(name for name, known in NETWORKS.items() if known is network_class) + "."
    try:
        content = WEIGHTS.read_bytes()
        if hashlib.sha256(content).hexdigest() != DIGEST:
            raise WeightsError(f"weights {WEIGHTS} are damaged: install kptalk anew")
        tensors = load(content)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read weights {WEIGHTS}: {explain(error)}; install kptalk anew") from error
    with NoInit():
        network = network_class()
    own = {name.removeprefix(prefix): value.float() for name, value in tensors.items() if name.startswith(prefix)}
    network.load_state_dict(own)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
