"""Scores by sampling, and the measures of generated motion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import facemesh_space
from torch import nn

from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.train.facemesh import training_clips
from kptalk.train.generators import KINDS, OneStepGenerator, draw_window
from kptalk.train.lag import load_judge
from kptalk.train.quality import COLUMNS, HeldOut, frechet_distance
from kptalk.train.validation import head_columns, lip_columns, sampled_score

SMALL = DenoiserConfig(dim=16, depth=1, heads=1, head_dim=16, time_dim=16, rotary_dim=4, prediction="v")


class Oracle(nn.Module):
    """Knows the noise, for it knows the motion: clips (n, W, D)."""

    def __init__(self, real):
        super().__init__()
        self.real = nn.Parameter(torch.from_numpy(real))
        self.cumulative = Denoiser(SMALL).cumulative

    def forward(self, x, t, audio):
        share = self.cumulative[t][:, None, None]
        frames = (x[:, 2:] - share.sqrt() * self.real) / (1 - share).sqrt()
        return torch.cat([x[:, :2], frames], 1)


@pytest.fixture(scope="module")
def clips(tracked):
    return training_clips(facemesh_space(), tracked)


def test_perfect_motion_scores_one(clips):
    real = np.stack([clip.tokens[1:65] for clip in clips])
    features = [np.zeros((64, 512), np.float32)] * len(clips)
    score = sampled_score(facemesh_space(), clips, features, 4)(Oracle(real))
    assert score["score"] == score["lip_r"] == pytest.approx(1, abs=1e-3)
    assert score["lip_lag"] == 0
    assert score["lip_amplitude"] == pytest.approx(1, abs=1e-3)
    assert score["head_spread"] == pytest.approx(1, abs=0.05)
    assert score["head_speed"] == pytest.approx(1, abs=0.05)


def test_columns_tell_late_small_and_fast_motion():
    rng = np.random.default_rng(0)
    real = np.cumsum(rng.standard_normal((5, 120)), 1)
    late = lip_columns(0.5 * np.roll(real, 3, 1), real)
    assert late["lip_lag"] == pytest.approx(3, abs=1)
    assert late["lip_amplitude"] == pytest.approx(0.5)
    assert late["score"] < 1
    t = np.arange(200) / 25
    slow, fast = (np.repeat(np.sin(2 * np.pi * f * t)[None, :, None], 3, 2) for f in (0.5, 5))
    assert head_columns(fast, slow)["head_speed"] == pytest.approx(10, rel=0.2)
    assert head_columns(fast, slow)["head_fast"] > 90
    assert head_columns(slow, slow)["head_fast"] < 5


def held_out(clips):
    return HeldOut.of(facemesh_space(), clips, lambda number: np.zeros((80, 512), np.float16), True)


def test_the_real_motion_is_best_by_every_measure(clips):
    data, judge = held_out(clips), load_judge()
    real = data.real[:, 1:]
    found = data.measure(real, judge)
    for name in ("lip_r", "lip_amplitude", "head_spread", "head_speed", "jerk"):
        assert found[name] == pytest.approx(1, abs=1e-4), name
    assert found["distance"] == pytest.approx(0, abs=0.1)
    still = data.measure(
        np.repeat(real[:, :1], real.shape[1], 1) + 1e-3 * np.random.default_rng(0).random(real.shape), judge
    )
    assert still["distance"] > 1
    assert still["sync_r"] < found["sync_r"]
    assert set(found) | {"cpu"} == {column.key for column in COLUMNS}


def test_windows_are_chained_from_the_last_frame(clips):
    data, seen = held_out(clips), []

    def draw(references, audio, noise):
        seen.append(references[:, 1])
        return torch.zeros_like(noise) + len(seen)

    tokens, cpu = data.generate(draw, 16, 0)
    assert tokens.shape == data.real[:, 1:].shape
    assert np.array_equal(seen[0].numpy(), data.real[:, 0])
    assert [float(each[0, 0]) for each in seen[1:]] == [1, 2, 3, 4]
    assert cpu > 0


def test_frechet_distance_of_known_normals():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20_000, 3))
    assert frechet_distance(a, 2 * rng.standard_normal((20_000, 3)) + 1) == pytest.approx(3 + 3, abs=0.3)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_other_generators_draw_in_one_pass(kind):
    model = OneStepGenerator(SMALL, "VAE" in kind, "GAN" in kind).eval()
    references, audio, noise = torch.zeros(2, 2, 70), torch.zeros(2, 64, 512), torch.randn(2, 64, 70)
    drawn = draw_window(model, references, audio, noise, 50)
    assert drawn.shape == (2, 64, 70)
    assert torch.equal(drawn, draw_window(model, references, audio, noise, 1))
    assert (model.encoder is not None, model.critic is not None) == ("VAE" in kind, "GAN" in kind)


def test_a_denoiser_without_attention_knows_nothing_of_other_frames():
    torch.manual_seed(0)
    x, audio, t = torch.randn(1, 10, 70), torch.zeros(1, 10, 512), torch.tensor([500])
    changed = x.clone()
    changed[:, 3] += 1
    for attention in (False, True):
        network = Denoiser(replace(SMALL, attention=attention))
        moved = (network(changed, t, audio) - network(x, t, audio)).abs().amax((0, 2)) > 1e-6
        assert moved.tolist() == [attention or frame == 3 for frame in range(10)]
    assert Denoiser(replace(SMALL, rotary_dim=0))(x, t, audio).isfinite().all()
