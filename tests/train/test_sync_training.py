"""``kptalk train syncnet``: offsets of the clips' own, the ridge, and a model that learns."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from kptalk.cli.app import app
from kptalk.errors import DatasetError
from kptalk.networks.sync import N_LIPS, SyncConfig, SyncModel
from kptalk.train import sync
from kptalk.train.loop import Draw
from kptalk.train.recipes import train_network
from kptalk.train.sampler import PersonSampler
from kptalk.train.sync_ridge import INNER_LOWER, INNER_UPPER, RidgeFit, opening, ridge_curve
from kptalk.weights.store import load_model

BATCH = 24


def puppet(seed, offset=0, frames=150):
    """Lips that open with the level of a sound, the sound ``offset`` frames late."""
    rng = np.random.default_rng(seed)
    level = np.convolve(rng.normal(size=frames + 40), np.ones(5) / 3, "same")
    lips = rng.normal(0, 0.05, (frames, N_LIPS)).astype(np.float32)
    lips[:, INNER_LOWER] += level[20 : 20 + frames]
    lips[:, INNER_UPPER] -= 0.2 * level[20 : 20 + frames]
    instants = np.arange(frames * 80 // 25 + 1) * 25 / 80 + 20 - offset
    mel = np.interp(instants, np.arange(frames + 40), level)[:, None] - 0.5 + rng.normal(0, 0.1, 80)
    return sync.SyncClip(lips, mel.astype(np.float32), f"person {seed}")


def test_a_clips_own_offset_is_measured_by_the_others():
    clips = [puppet(seed) for seed in range(8)] + [puppet(9, offset=2), puppet(10, offset=-3), puppet(11, offset=9)]
    offsets = [clip.offset for clip in sync.estimate_offsets(clips)]
    assert np.abs(np.array(offsets[:8])).max() <= 1
    assert np.abs(np.array(offsets[8:10]) - [2, -3]).max() <= 1
    assert offsets[10] == 0  # too large to be believed


def test_the_ridge_leaves_a_person_out():
    clips = [puppet(seed) for seed in range(4)]
    lips, mels = [clip.lips for clip in clips], [clip.mel for clip in clips]
    people = ["a", "b", "b", "c"]
    fit = RidgeFit(lips, mels, people)
    without = RidgeFit([lips[0], lips[3]], [mels[0], mels[3]], ["a", "c"]).weights()
    assert np.allclose(fit.weights(without="b"), without, atol=1e-8)
    assert not np.allclose(fit.weights(), without, atol=1e-4)
    curve = ridge_curve(fit.weights(without="b"), lips[1], mels[1])
    assert curve.shape == (31,)
    assert abs(curve.argmax() - 15) <= 1
    assert curve.max() > 0.8


def test_opening_is_standardised():
    gap = opening(puppet(0).lips)
    assert gap.mean() == pytest.approx(0, abs=1e-9)
    assert gap.std() == pytest.approx(1, abs=1e-3)


def test_the_sampler_moves_the_sound_by_what_it_says(monkeypatch):
    monkeypatch.setattr(sync, "augment_mel", lambda mel, rng: mel)
    clips = [sync.replace(puppet(seed, offset=seed % 3, frames=300), offset=float(seed % 3)) for seed in range(30)]
    lips, sound, shifts = sync.sequences(PersonSampler(clips), np.random.default_rng(0), BATCH)
    assert lips.shape == (BATCH, sync.WINDOW, N_LIPS)
    assert sound.shape == (BATCH, 4 * sync.WINDOW, 80)
    assert len(set(shifts.tolist())) > 5
    gap = lips[:, None, :, INNER_LOWER] - lips[:, None, :, INNER_UPPER]
    curve = sync.lag_correlations(gap, sound[:, ::4].mean(-1)[:, None], torch.ones_like(gap))
    assert (curve.argmax(1) - 15 - shifts).abs().max() <= 1


@pytest.mark.parametrize("frames", [50, 60])
def test_short_clips_repeat_their_ends(frames):
    lips, sound, _ = sync.sequences(PersonSampler([puppet(0, frames=frames)]), np.random.default_rng(1), 1)
    assert torch.isfinite(lips).all()
    assert torch.isfinite(sound).all()


@pytest.mark.slow
def test_a_model_learns_puppets():
    torch.manual_seed(0)
    model = SyncModel(SyncConfig(sound_width=16, lips_width=16, channels=4))
    people = [puppet(seed) for seed in range(24)]
    data = sync.SyncData(people[:12], people[20:], np.zeros((42, 3), np.float32))
    loss, score = sync.loss(data), sync.score(data)
    before = score(model.eval())
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(40):
        value = loss(model.train(), Draw(0, step, 0, range(6), "float32"))
        optimiser.zero_grad()
        torch.autograd.backward(value)
        optimiser.step()
    with torch.inference_mode():
        assert score(model.eval()) > before + 0.3


@pytest.mark.slow
def test_training_from_the_command_line(stored, tmp_path):
    written = []
    for name in ("a", "b"):
        out = tmp_path / name
        done = CliRunner().invoke(
            app, ["train", "syncnet", "--data", str(stored), "-o", str(out), "--steps", "2", "--set", "batch=2"]
        )
        assert done.exit_code == 0, done.output
        written.append(load_file(out / "sync.safetensors"))
    assert all(np.array_equal(value, written[1][name]) for name, value in written[0].items())
    model = load_model(tmp_path / "a" / "sync.safetensors", SyncModel, SyncConfig)
    assert model.held_points.std() > 0.1
    assert (tmp_path / "a" / "sync.log" / "log.csv").read_text().startswith("step,loss,score")


def test_it_learns_from_datasets_only(tmp_path):
    (tmp_path / "clips.safetensors").touch()
    with pytest.raises(DatasetError, match="is no dataset"):
        train_network("syncnet", tmp_path / "clips.safetensors", tmp_path / "weights")
