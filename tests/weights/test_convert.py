"""Conversion: the right tensors arrive under the right names; anything else is one line, and nothing is written."""

import os
import sys
import types
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from kptalk.errors import WeightsError
from kptalk.files import sha256
from kptalk.networks.spade import fold_spectral_norm
from kptalk.weights.convert import Network, Numbers, install, read_checkpoint
from kptalk.weights.header import read_header
from kptalk.weights.lock import read_lock
from kptalk.weights.registry import ENTRIES, PINS, Entry, Hub, converted_path
from kptalk.weights.store import load_model


@dataclass(frozen=True)
class TinyConfig:
    widths: tuple[int, int] = (3, 4)


class Tiny(nn.Module):
    """Two layers and a buffer, like the real ones."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(*config.widths, 1)
        self.norm = nn.BatchNorm2d(config.widths[1])


TINY = Network(Tiny, TinyConfig())
ENTRY = Entry("tiny", "official", Hub("nobody/tiny", "tiny.pth"), "https://tiny.example", "CC0-1.0", True)


def state():
    torch.manual_seed(0)
    return {name: torch.randn_like(value.float()) for name, value in Tiny(TinyConfig()).state_dict().items()}


@pytest.fixture
def written(tmp_path):
    """Writes a checkpoint; gives its path."""

    def write(content, **options):
        torch.save(content, tmp_path / "tiny.pth", **options)
        return tmp_path / "tiny.pth"

    return write


@pytest.fixture
def refused(home):
    """Sees that a file is turned down in one line that names it and the parts; nothing is left behind."""

    def check(path, *parts, entry=ENTRY, target=TINY):
        with pytest.raises(WeightsError) as caught:
            install(entry, path, target, "test")
        message = str(caught.value)
        assert "\n" not in message
        for part in (str(path), *parts):
            assert part in message
        assert read_lock().files == {}
        assert not home.exists() or list(home.iterdir()) == []

    return check


def loaded():
    return load_model(converted_path(ENTRY), Tiny, TinyConfig)


class TestNetworks:
    @pytest.mark.parametrize("zipped", [True, False])
    def test_the_numbers_arrive(self, home, written, zipped):
        original = written(state(), _use_new_zipfile_serialization=zipped)
        path = install(ENTRY, original, TINY, "here")
        torch.testing.assert_close(dict(loaded().state_dict()), state() | {"norm.num_batches_tracked": torch.tensor(0)})
        header = read_header(path)
        assert header["architecture"] == "Tiny"
        assert header["licence"] == "CC0-1.0"
        assert header["original_sha256"] == sha256(original)
        record = read_lock().files["tiny"]
        assert record.size == original.stat().st_size
        assert record.converted_sha256 == sha256(path)
        assert (record.source, record.original) == ("here", str(original))

    def test_nested_prefixed_and_beside_others(self, home, written):
        content = {f"module.part.{name}": value for name, value in state().items()} | {"module.other": torch.ones(3)}
        path = written({"step": 7, "net": OrderedDict(content), "optimizer": {"lr": 1e-3}})
        class_with_part = Network(WithPart, TinyConfig())
        install(replace(ENTRY, key="net", prefix="module.", part="part."), path, class_with_part, "test")
        got = load_model(converted_path(ENTRY), WithPart, TinyConfig).part.first.weight
        torch.testing.assert_close(got.detach(), state()["first.weight"])

    def test_a_prefix_that_a_copy_lacks_is_not_needed(self, home, written):
        install(replace(ENTRY, prefix="module."), written(state()), TINY, "test")

    def test_half_precision_becomes_float32(self, home, written):
        install(ENTRY, written({name: value.half() for name, value in state().items()}), TINY, "test")
        assert loaded().first.weight.dtype == torch.float32

    @pytest.mark.parametrize("counter", [None, "norm.num_batches_tracked", "first.num_batches_tracked"])
    def test_counters_of_batches_may_be_missing_or_surplus(self, home, written, counter):
        content = {name: value for name, value in state().items() if "num_batches" not in name}
        if counter:
            content[counter] = torch.tensor(12)
        install(ENTRY, written(content), TINY, "test")
        assert loaded().norm.num_batches_tracked == (12 if counter == "norm.num_batches_tracked" else 0)

    def test_tensors_are_prepared(self, home, written):
        prepared = replace(TINY, prepare=lambda tensors: {name: -value for name, value in tensors.items()})
        install(ENTRY, written(state()), prepared, "test")
        torch.testing.assert_close(loaded().first.weight.detach(), -state()["first.weight"])

    def test_what_cannot_be_prepared(self, refused, written):
        refused(written(state()), "'up.weight_u'", target=replace(TINY, prepare=lambda tensors: tensors["up.weight_u"]))

    def test_an_older_conversion_is_replaced_only_by_a_whole_one(self, home, written):
        install(ENTRY, written(state()), TINY, "test")
        before = sha256(converted_path(ENTRY))
        with pytest.raises(WeightsError):
            install(ENTRY, written({"first.weight": torch.zeros(1)}), TINY, "test")
        assert sha256(converted_path(ENTRY)) == before == read_lock().files["tiny"].converted_sha256


class WithPart(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.part = Tiny(config)


class TestWhatDoesNotFit:
    def test_tensors_of_another_network(self, refused, written):
        content = state() | {"second.weight": torch.zeros(2), "first.bias": torch.zeros(5)}
        del content["norm.weight"]
        parts = "missing (norm.weight)", "unexpected (second.weight)", "first.bias (5,) instead of (4,)"
        refused(written(content), *parts)

    def test_something_that_is_no_tensor(self, refused, written):
        refused(written(state() | {"epoch": 3}), "epoch", "int")

    def test_another_nesting(self, refused, written):
        refused(written({"generator": state()}), "'model'", "generator", entry=replace(ENTRY, key="model"))
        refused(written([1, 2]), "'model'", "list", entry=replace(ENTRY, key="model"))
        refused(written([1, 2]), "no state dict")
        refused(written({}), "no state dict")

    def test_another_digest_or_size(self, refused, written, monkeypatch):
        path = written(state())
        size = path.stat().st_size
        monkeypatch.setitem(PINS, "tiny.pth", (size, "beef" * 16))
        refused(path, "beefbeef", "kptalk weights pull tiny")
        monkeypatch.setitem(PINS, "tiny.pth", (size + 1, sha256(path)))
        refused(path, f"{size} bytes", f"{size + 1}")
        monkeypatch.setitem(PINS, "tiny.pth", (size, sha256(path)))
        install(ENTRY, path, TINY, "test")


class TestNumbersThatNoNetworkHas:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("name", ["first.weight", "norm.running_var"])
    def test_not_finite(self, refused, written, name, value):
        content = state()
        content[name].view(-1)[-1] = value
        refused(written(content), name, "NaN or infinity")

    def test_beyond_float32(self, refused, written):
        refused(written(state() | {"first.bias": torch.full((4,), 1e300, dtype=torch.float64)}), "first.bias")

    @pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
    def test_not_floating_point(self, refused, written, dtype):
        refused(written(state() | {"first.bias": torch.ones(4).to(dtype)}), "first.bias", str(dtype))

    @pytest.mark.parametrize("tensor", [torch.ones(4).to_sparse(), torch.ones(4, device="meta")])
    def test_not_dense(self, refused, written, tensor):
        refused(written(state() | {"first.bias": tensor}), "first.bias", "dense")

    @pytest.mark.parametrize("change", ["zero", "int8", "complex64"])
    def test_spectral_norms_that_cannot_be_folded(self, refused, written, change):
        content = state()
        weight = content.pop("first.weight")
        content |= {"first.weight_orig": weight, "first.weight_u": torch.ones(4), "first.weight_v": torch.ones(3)}
        if change == "zero":
            content["first.weight_orig"] = torch.zeros_like(weight)
        else:
            content["first.weight_orig"] = weight.to(getattr(torch, change))
        refused(written(content), "first.weight", target=replace(TINY, prepare=fold_spectral_norm))


class Hostile:
    """Runs a program when it is unpickled, unless the reader is careful."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TestHostileFiles:
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("function", [os.system, eval, print, torch.load], ids=lambda f: f.__name__)
    def test_nothing_is_run(self, refused, written, tmp_path, zipped, function, capfd):
        mark = tmp_path / "was-here"
        payload = Hostile(function, f"touch {mark}" if function is os.system else f"open({str(mark)!r}, 'w')")
        path = written(state() | {"cfg": payload}, _use_new_zipfile_serialization=zipped)
        name = {os.system: "system", eval: "eval", print: "print", torch.load: "load"}[function]
        refused(path, "refusing to unpickle", name, "only tensors are allowed")
        assert not mark.exists()
        assert capfd.readouterr().out == ""

    def test_not_even_what_settings_may_name(self, home, written, tmp_path):
        mark = tmp_path / "was-here.npy"
        content = {"net": state(), "cfg": Hostile(np.save, str(mark), 1)}
        install(replace(ENTRY, key="net"), written(content), TINY, "test")
        assert not mark.exists()

    def test_settings_of_training_programs_are_passed_over(self, home, written, monkeypatch):
        made = []
        modules = {name: types.ModuleType(name) for name in ("omegaconf", "omegaconf.dictconfig")}
        with monkeypatch.context() as training:  # whoever reads the file need not have that program
            for name, module in modules.items():
                training.setitem(sys.modules, name, module)
            config = type("DictConfig", (), {"__setstate__": made.append, "__module__": "omegaconf.dictconfig"})()
            modules["omegaconf.dictconfig"].DictConfig = type(config)
            config.settings = {"lr": 1e-3, "best": np.float64(2), "cache": defaultdict(dict)}
            path = written({"net": state(), "cfg": config})
        install(replace(ENTRY, key="net"), path, TINY, "test")
        assert made == []
        torch.testing.assert_close(loaded().first.weight.detach(), state()["first.weight"])


class TestDamagedFiles:
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9, 0.999])
    def test_a_truncated_file(self, refused, written, zipped, part):
        path = written(state(), _use_new_zipfile_serialization=zipped)
        content = path.read_bytes()
        path.write_bytes(content[: int(part * len(content))])
        refused(path)

    def test_a_flipped_byte_that_torch_does_not_notice(self, refused, written):
        path = written(state())
        content = bytearray(path.read_bytes())
        content[content.index(state()["first.weight"].numpy().tobytes()) + 1] ^= 1
        path.write_bytes(content)
        assert torch.load(path, weights_only=True).keys() == state().keys()
        refused(path, "damaged", "CRC-32")

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=200))
    def test_any_bytes(self, tmp_path, content):
        path = tmp_path / "any.pth"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"\A[^\n]*any.pth[^\n]*\Z"):
            read_checkpoint(path)

    def test_a_folder_or_nothing(self, refused, tmp_path):
        (tmp_path / "tiny.pth").mkdir()
        refused(tmp_path / "tiny.pth")


class TestNumbers:
    NUMBERS = Numbers({"mean": (1,), "std": (3,)}, unused="c_.*")
    GOOD = {"mean": np.ones(1), "std": np.arange(3.0), "c_lip": np.zeros(2)}  # noqa: RUF012

    def write(self, tmp_path, **arrays):
        np.savez(tmp_path / "norm.npz", **arrays)
        return tmp_path / "norm.npz"

    def test_arrays_become_float32_tensors(self, home, tmp_path):
        path = install(ENTRY, self.write(tmp_path, **self.GOOD), self.NUMBERS, "test")
        got = load_file(path)
        assert set(got) == {"mean", "std"}
        torch.testing.assert_close(got["std"], torch.tensor([0.0, 1.0, 2.0]))

    def test_what_does_not_fit(self, refused, tmp_path):
        path = self.write(tmp_path, std=np.ones(2), more=np.ones(1))
        refused(path, "missing (mean)", "unexpected (more)", "(2,) instead of (3,)", target=self.NUMBERS)

    def test_pickles_inside_are_refused(self, refused, tmp_path):
        mark = tmp_path / "was-here"
        hostile = np.array([Hostile(os.system, f"touch {mark}")], dtype=object)
        refused(self.write(tmp_path, **self.GOOD | {"std": hostile}), "allow_pickle=False", target=self.NUMBERS)
        assert not mark.exists()

    @pytest.mark.parametrize("part", [0, 0.3, 0.9])
    def test_a_truncated_file(self, refused, tmp_path, part):
        path = self.write(tmp_path, **self.GOOD)
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
        refused(path, target=self.NUMBERS)

    def test_a_flipped_byte(self, refused, tmp_path):
        path = self.write(tmp_path, **self.GOOD)
        content = bytearray(path.read_bytes())
        content[content.index(np.arange(3.0).tobytes()) + 9] ^= 1
        path.write_bytes(content)
        refused(path, "damaged", target=self.NUMBERS)

    @pytest.mark.parametrize("dtype", [int, complex, bool])
    def test_not_floating_point(self, refused, tmp_path, dtype):
        refused(self.write(tmp_path, **self.GOOD | {"std": np.ones(3, dtype)}), "std has dtype", target=self.NUMBERS)

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_not_finite(self, refused, tmp_path, value):
        refused(self.write(tmp_path, **self.GOOD | {"mean": np.full(1, value)}), "mean", target=self.NUMBERS)

    @pytest.mark.parametrize("value", [0.0, -1.0, 1e-60])
    def test_a_spread_that_is_not_positive(self, refused, tmp_path, value):
        path = self.write(tmp_path, **self.GOOD | {"std": np.array([1, value, 1])})
        refused(path, "std must be above zero", target=replace(self.NUMBERS, positive="std"))

    def test_a_file_of_another_kind(self, refused, tmp_path):
        np.save(tmp_path / "norm.npy", np.ones(3))
        refused(tmp_path / "norm.npy", target=self.NUMBERS)


def test_onnx_files_stay_as_they_are(home, tmp_path, monkeypatch):
    monkeypatch.delitem(PINS, "w600k_r50.onnx")
    (tmp_path / "w600k_r50.onnx").write_bytes(b"graph")
    path = install(ENTRIES["arcface"], tmp_path / "w600k_r50.onnx", None, "test")
    assert path == home / "arcface.onnx"
    assert path.read_bytes() == b"graph"


def test_a_folder_that_cannot_be_written(home, written):
    home.parent.mkdir(parents=True)
    home.write_text("in the way")
    with pytest.raises(WeightsError, match=f"cannot write .*{home}"):
        install(ENTRY, written(state()), TINY, "test")
