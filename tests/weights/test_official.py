"""A complete set in the official files' own nesting and names, filled by the weight rule, through every command."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from official_set import SPREAD, STITCHING, rule, stitching_file, unpin
from safetensors.torch import load_file, save_file

from kptalk import cli
from kptalk.errors import WeightsError
from kptalk.files import sha256
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.spade import fold_spectral_norm
from kptalk.weights import official
from kptalk.weights.convert import Network
from kptalk.weights.lock import Record, read_lock, record_file
from kptalk.weights.registry import ENTRIES, official_path
from kptalk.weights.store import load_model, save_model


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    unpin(monkeypatch)


@pytest.fixture(scope="module")
def whole(converted):
    """The weights folder into which the official folder was converted; gives what became of each entry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPTALK_HOME", str(converted.home))
        yield converted.outcomes


@pytest.mark.xdist_group("official")
class TestWholeSet:
    def test_everything_is_converted(self, whole):
        assert [outcome.detail for outcome in whole if not outcome.ok] == []
        assert {outcome.name for outcome in whole} == set(official.TARGETS)

    @pytest.mark.parametrize("name", [name for name in official.TARGETS if name != "kdtalker_norm"])
    def test_every_number_arrives(self, whole, parity, name):
        target = official.TARGETS[name]
        model = load_model(official_path(name), target.model_class, type(target.config))
        expected = rule(parity, name)
        if name == "decoder":
            expected = fold_spectral_norm(expected)
        got = model.state_dict()
        for key, value in expected.items():
            assert torch.equal(got[key.removeprefix("point_model.model.")], value), key
        assert len(got) == len(expected)

    def test_statistics_arrive(self, whole, parity):
        got = load_file(official_path("kdtalker_norm"))
        with np.load(parity / "fixtures/kdtalker_norm.npz") as numbers:
            assert set(numbers) - set(got) == {"c_lip_mean", "c_lip_std", "c_eye_mean", "c_eye_std"}
            for name, value in got.items():
                np.testing.assert_array_equal(value, numbers[name])

    def test_the_audio_encoder_gives_the_reference_features(self, whole, parity):
        encoder = load_model(official_path("audio"), AudioEncoder, AudioEncoderConfig)
        with np.load(parity / "fixtures/audio_encoder.npz") as fixture, torch.no_grad():
            windows = torch.from_numpy(fixture["random_mel_windows"][0])
            np.testing.assert_allclose(encoder(windows), fixture["random_embedding"][0], rtol=1e-5, atol=2.4e-5)

    def test_verify_finds_them_sound(self, whole):
        outcomes = list(official.verify())
        assert {outcome.name for outcome in outcomes} == set(official.TARGETS)
        assert [outcome.detail for outcome in outcomes if not outcome.ok] == []


def test_every_entry_of_tensors_has_a_network():
    assert set(official.TARGETS) == {entry.name for entry in ENTRIES.values() if entry.form == "safetensors"}
    for target in official.TARGETS.values():
        assert not isinstance(target, Network) or target.model_class.__doc__


@pytest.fixture
def stitching(home, tmp_path, parity):
    """Stitching and retargeting, converted; gives the original."""
    original = stitching_file(tmp_path, parity)
    assert all(outcome.ok for outcome in official.convert(original))
    return original


def complaint(name="stitching"):
    (outcome,) = official.verify([name])
    assert not outcome.ok
    assert "\n" not in outcome.detail
    return outcome.detail


class TestVerify:
    def test_a_changed_converted_file(self, stitching):
        path = official_path("stitching")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        assert "changed since it was converted" in complaint()
        assert [outcome.ok for outcome in official.verify()] == [False, True]

    def test_a_changed_original(self, stitching):
        stitching.write_bytes(b"something else")
        assert "is not the file that stitching was converted from" in complaint()

    def test_an_original_that_is_gone_is_no_fault(self, stitching):
        stitching.unlink()
        (outcome,) = official.verify(["stitching"])
        assert outcome.ok
        assert outcome.detail.endswith("the original is gone")

    def test_a_file_that_nobody_recorded(self, stitching, home):
        (home / "lock.json").unlink()
        assert "not in the lock file" in complaint()

    def test_a_file_that_holds_another_network(self, stitching):
        swapped = official_path("retargeting_eye").read_bytes()
        official_path("stitching").write_bytes(swapped)
        records = read_lock().files
        digest = records["retargeting_eye"].converted_sha256
        record_file("stitching", Record(**{**vars(records["stitching"]), "converted_sha256": digest}))
        assert "other architecture numbers" in complaint()

    @pytest.mark.parametrize(("name", "value"), [("exp_std", 0.0), ("t_mean", float("nan"))])
    def test_statistics_that_cannot_be_used(self, home, name, value):
        home.mkdir(parents=True)
        path = home / "kdtalker_norm.safetensors"
        arrays = {key: torch.ones(shape) for key, shape in official.NORM.shapes.items()}
        arrays[name][0] = value
        save_file(arrays, path)
        record_file("kdtalker_norm", Record("here", "gone", 1, "0", sha256(path)))
        assert name in complaint("kdtalker_norm")
        np.savez(home / "norm.npz", **{key: tensor.numpy() for key, tensor in arrays.items()})
        (outcome,) = official.convert(home / "norm.npz")
        assert not outcome.ok
        assert name in outcome.detail

    def test_a_network_that_is_not_finite(self, stitching):
        path = official_path("stitching")
        model = load_model(path, *network("stitching"))
        torch.nn.init.constant_(model.mlp[0].bias, float("nan"))
        save_model(path, model, model.config)
        record_file("stitching", Record("here", "gone", 1, "0", sha256(path)))
        assert "mlp.0.bias holds NaN" in complaint()

    def test_a_file_that_is_not_here(self, home):
        assert "kptalk weights pull warping" in complaint("warping")
        assert list(official.verify()) == []


class TestConvert:
    def test_nothing_there(self, home, tmp_path):
        with pytest.raises(WeightsError, match="does not exist"):
            list(official.convert(tmp_path / "nowhere"))
        (tmp_path / "model.pth").touch()
        with pytest.raises(WeightsError, match=r"no official file.*wav2lip\.pth"):
            list(official.convert(tmp_path))

    def test_two_copies_are_not_chosen_between(self, home, tmp_path, parity):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            stitching_file(tmp_path / name, parity)
        outcomes = list(official.convert(tmp_path))
        assert [outcome.ok for outcome in outcomes] == [False] * 2
        assert f"{tmp_path / 'a' / STITCHING.original}, {tmp_path / 'b' / STITCHING.original}" in outcomes[0].detail

    def test_weights_for_animals_under_the_same_names_are_passed_over(self, home, tmp_path, parity):
        for name in ("liveportrait", "liveportrait_animals"):
            (tmp_path / name / "retargeting_models").mkdir(parents=True)
            stitching_file(tmp_path / name / "retargeting_models", parity)
        assert [outcome.ok for outcome in official.convert(tmp_path)] == [True] * 2
        assert "/liveportrait/" in read_lock().files["stitching"].original
        with pytest.raises(WeightsError, match="no official file"):
            list(official.convert(tmp_path / "liveportrait_animals"))

    def test_one_bad_file_does_not_stop_the_others(self, home, tmp_path, parity):
        stitching_file(tmp_path, parity)
        torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "spade_generator.pth")
        outcomes = {outcome.name: outcome for outcome in official.convert(tmp_path)}
        assert not outcomes["decoder"].ok
        assert "missing" in outcomes["decoder"].detail
        assert outcomes["stitching"].ok


class TestPull:
    def test_licence_then_download_then_nothing_to_do(self, hub, tmp_path, parity):
        hub.add(STITCHING.source, stitching_file(tmp_path, parity).read_bytes())
        with pytest.raises(WeightsError, match=r"licences not accepted yet: MIT \(LivePortrait\)$"):
            list(official.pull(["stitching"]))
        assert hub.requests == []
        assert [outcome.ok for outcome in official.pull(["stitching", "retargeting_eye"], True)] == [True, True]
        assert load_model(official_path("stitching"), *network("stitching"))
        asked = len(hub.requests)
        assert [outcome.detail.endswith("(already here)") for outcome in official.pull(["stitching"])] == [True]
        assert len(hub.requests) == asked
        official_path("stitching").write_bytes(b"damaged")
        assert [outcome.ok for outcome in official.pull(["stitching"])] == [True]
        assert [outcome.ok for outcome in official.verify()] == [True, True]

    def test_one_missing_file_does_not_stop_the_others(self, hub, tmp_path, parity):
        hub.add(STITCHING.source, stitching_file(tmp_path, parity).read_bytes())
        outcomes = {outcome.name: outcome for outcome in official.pull(["official"], True)}
        assert {name for name, outcome in outcomes.items() if outcome.ok} == set(SPREAD.values())
        assert "404" in outcomes["decoder"].detail
        assert set(outcomes) == {entry.name for entry in ENTRIES.values() if entry.set == "official"}

    def test_unknown_names(self, home):
        with pytest.raises(WeightsError, match="'stiching'"):
            list(official.pull(["stiching"], True))


def network(name):
    target = official.TARGETS[name]
    return target.model_class, type(target.config)


class TestCommandLine:
    @pytest.fixture
    def kptalk(self, monkeypatch, capfd):
        """Runs the program here; gives exit code, stdout and stderr."""

        def run(*argv):
            monkeypatch.setattr(sys, "argv", ["kptalk", "weights", *map(str, argv)])
            capfd.readouterr()
            with pytest.raises(SystemExit) as done:
                cli.main()
            return (done.value.code or 0, *capfd.readouterr())

        return run

    def test_pull_needs_the_licences_accepted(self, kptalk, hub):
        code, out, err = kptalk("pull", "stitching", "audio")
        assert (code, out) == (1, "")
        last = err.splitlines()[-1]
        assert all(part in last for part in ("--accept-licence", "MIT (LivePortrait)", ENTRIES["audio"].licence))
        assert hub.requests == []

    def test_convert_and_verify(self, kptalk, home, tmp_path, parity):
        assert kptalk("verify")[:2] == (0, "no official weights found: run kptalk weights pull\n")
        original = stitching_file(tmp_path, parity)
        code, out, err = kptalk("convert", original)
        assert (code, err) == (0, "")
        assert out.splitlines()[0] == f"stitching: {home / 'stitching.safetensors'}"
        assert kptalk("verify", "stitching")[0] == 0
        original.write_bytes(b"")
        code, out, err = kptalk("verify", "stitching")
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert err.startswith("kptalk: error: stitching: ")

    def test_the_environment_counts(self, hub, home, tmp_path, parity):
        """In a process of its own, since huggingface_hub reads its variables when it is imported."""
        hub.add(STITCHING.source, stitching_file(tmp_path, parity).read_bytes())

        def run(*argv, **more):
            environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")} | more
            unpinned = "from kptalk.weights.registry import PINS; PINS.clear(); from kptalk import cli; cli.main()"
            command = [sys.executable, "-c", unpinned, "weights", *argv]
            return subprocess.run(command, env=environment, capture_output=True, text=True)

        done = run("pull", "stitching", "--accept-licence")
        assert (done.returncode, done.stdout) == (0, f"stitching: {home / 'stitching.safetensors'}\n")
        assert "MIT (LivePortrait); commercial use allowed" in done.stderr
        assert Path(read_lock().files["stitching"].original).is_relative_to(tmp_path / "hf")
        asked = len(hub.requests)
        done = run("pull", "retargeting_eye", "warping", HF_HUB_OFFLINE="1")
        assert done.returncode == 1
        assert done.stdout == f"retargeting_eye: {home / 'retargeting_eye.safetensors'}\n"
        assert "warping_module.pth is not in the cache and HF_HUB_OFFLINE is set" in done.stderr.splitlines()[-1]
        assert len(hub.requests) == asked
