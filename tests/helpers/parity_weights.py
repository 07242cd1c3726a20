"""The rule that gives every weight of the reference networks a number, so that fixtures need no weight file.

See ``tests/data/parity/README.md``. Each entry depends on ``network/name`` alone; float64, rounded at the end.
"""

import atexit
import json
import os
import zlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file, save_file


def normal(tag, shape):
    return np.random.RandomState(zlib.crc32(tag.encode())).standard_normal(tuple(shape))


def entry(network, item, by_name):
    rule, shape, tag = item["rule"], item["shape"], f"{network}/{item['name']}"
    match rule["kind"]:
        case "zero":
            return np.zeros(shape, np.int64)
        case "const":
            value = np.full(shape, rule["value"])
        case "rope_freqs":
            value = 10000.0 ** (-np.arange(0, 12, 2) / 12.0)
        case "freq_bands":
            value = 2.0 ** np.linspace(1, 9, 10)
        case "bias":
            value = rule["scale"] * normal(tag, shape)
        case "scale":
            value = 1 + rule["scale"] * normal(tag, shape)
        case "var":
            value = 1 + rule["scale"] * np.abs(normal(tag, shape))
        case "weight":
            value = normal(tag, shape) * (rule["gain"] / np.sqrt(rule["fan_in"]))
        case "sn_u" | "sn_v" as kind:
            value = spectral_vector(network, item["name"].rsplit(".", 1)[0], kind, by_name)
        case kind:
            raise ValueError(f"unknown rule {kind}")
    return value.astype(np.float32)


def spectral_vector(network, base, kind, by_name):
    """Left or right singular vector estimate after five power iterations on the rounded weight."""
    weight = entry(network, by_name[f"{base}.weight_orig"], by_name).astype(np.float64)
    weight = weight.reshape(weight.shape[0], -1)
    left = normal(f"{network}/{base}.weight_u", (len(weight),))
    left /= np.linalg.norm(left)
    for _ in range(5):
        right = weight.T @ left
        right /= np.linalg.norm(right)
        left = weight @ right
        left /= np.linalg.norm(left)
    return left if kind == "sn_u" else right


def manifest(parity: Path, name: str):
    return json.loads((parity / "manifests" / f"{name}.json").read_text())


@cache
def _folder() -> Path:
    """Where this test run keeps state dicts: to draw a hundred million numbers takes longer than to read them."""
    if "KPTALK_TEST_WEIGHTS" in os.environ:  # of all workers, see conftest.py
        return Path(os.environ["KPTALK_TEST_WEIGHTS"])
    folder = TemporaryDirectory(prefix="kptalk-rule-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def weights(parity: Path, name: str) -> dict[str, torch.Tensor]:
    """State dict of manifest ``name`` by the rule, made once."""
    path = _folder() / f"{name}.safetensors"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        save_file(_by_rule(parity, name), partial)
        partial.replace(path)
    return load_file(path)


def _by_rule(parity: Path, name: str) -> dict[str, torch.Tensor]:
    """Checks the first number and absolute sum of every entry."""
    content = manifest(parity, name)
    by_name = {item["name"]: item for item in content["entries"]}
    values = {key: entry(content["network"], item, by_name) for key, item in by_name.items()}
    for key, item in by_name.items():
        first, total = item["check"]
        flat = values[key].reshape(-1).astype(np.float64)
        np.testing.assert_allclose([flat[0], np.abs(flat).sum()], [first, total], rtol=1e-6, err_msg=key)
    return {key: torch.from_numpy(np.array(value)) for key, value in values.items()}
