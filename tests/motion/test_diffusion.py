"""The schedule, the training loss and DDIM sampling."""

import numpy as np
import pytest
import torch
from parity_weights import weights

from kptalk.errors import OptionError
from kptalk.motion.diffusion import ddim_step, ddim_timesteps, noise_loss, sample
from kptalk.networks.denoiser import OFFICIAL_PREFIX, Denoiser, DenoiserConfig
from kptalk.networks.noise_schedule import BETA_END, BETA_START, N_STEPS, add_noise, alphas_cumprod, betas

COMPACT = DenoiserConfig(dim=32, depth=1, heads=2, head_dim=16, time_dim=16, audio_dim=8, rotary_dim=8, window=10)


def load(parity, name):
    return {key: torch.from_numpy(value) for key, value in np.load(parity / f"fixtures/{name}.npz").items()}


def close(got, expected, atol, rtol=1e-5):
    torch.testing.assert_close(got, expected, atol=atol, rtol=rtol)


def test_schedule_equals_the_reference(parity):
    reference = load(parity, "kdtalker_scheduler")
    close(betas(), reference["betas"], 1e-9)
    close(alphas_cumprod(), reference["alphas_cumprod"], 1e-7)
    for steps in (5, 10, 25, 50, 1000):
        assert list(ddim_timesteps(steps)) == reference[f"timesteps_{steps}"].tolist()
    for t in (3, 777):
        close(
            add_noise(reference["step_x"], reference["step_eps"], torch.tensor([t])), reference[f"add_noise_t{t}"], 1e-6
        )
    for t in (980, 500, 20, 0):
        stepped = ddim_step(reference["step_x"], reference["step_eps"], t, 50)
        close(stepped, reference[f"step_out_t{t}"], 1e-5)


@pytest.fixture(scope="module")
def official(parity):
    denoiser = Denoiser()
    state = weights(parity, "kdtalker_point_diffusion")
    denoiser.load_state_dict({name.removeprefix(OFFICIAL_PREFIX): value for name, value in state.items()})
    return denoiser.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "atol"), [(5, 1e-4), (50, 1e-3)])
def test_two_windows_equal_the_reference(parity, official, steps, atol):
    reference = load(parity, "kdtalker_sampling")
    canonical, previous = reference["ori_kp_70"][None], reference["ref_kp_70"][None]
    speech = reference["aud_feat_100"]
    speech = torch.cat([speech, speech[:28]]).reshape(2, 1, 64, 512)  # the reference wraps the speech, finding 18
    windows = []
    for k in range(2):
        references = torch.cat([canonical, previous], 1)
        window = sample(official, references, speech[k], reference[f"initial_noise_window{k}"], steps)
        close(window, reference[f"x0_steps{steps}_window{k}"], atol)
        previous = window[:, -1:]
        windows.append(window[0])
    if steps == 50:
        close(torch.cat(windows)[:100], reference["motion_norm_100x70"], atol)


def oracle(frames):
    """A perfect denoiser: knows the clean frames."""

    def predict(x_t, t, _audio):
        share = alphas_cumprod()[t][:, None, None]
        clean = torch.cat([torch.zeros_like(x_t[:, :2]), frames], 1)
        return (x_t - share.sqrt() * clean) / (1 - share).sqrt()

    return predict


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_a_perfect_denoiser_finds_the_clean_frames(steps):
    frames = torch.randn(2, 9, 70)
    found = sample(oracle(frames), torch.zeros(2, 2, 70), torch.zeros(2, 9, 8), torch.randn(2, 9, 70), steps)
    close(found, frames, 1e-3)
    found = sample(oracle(frames), torch.zeros(2, 2, 70), torch.zeros(2, 9, 8), frames, steps, uncertain=7)
    close(found[..., 7:], frames[..., 7:], 1e-3)


@pytest.mark.parametrize("steps", [2, 5, 50])
def test_what_stays_uncertain_keeps_its_spread(steps):
    """A denoiser that knows nothing: DDIM shrinks what it draws, the more the fewer steps; Euler's method does not."""

    def knows_nothing(x_t, t, _audio):
        return (1 - alphas_cumprod()[t][:, None, None]).sqrt() * x_t

    noise = torch.randn(1, 500, 70)
    found = sample(knows_nothing, torch.zeros(1, 2, 70), torch.zeros(1, 500, 8), noise, steps, uncertain=7)
    close(found[..., :7], noise[..., :7], 1e-5)
    assert found[..., 7:].std() < (0.85 if steps < 10 else 0.99)


def test_loss_of_a_perfect_denoiser_is_zero():
    frames, noise = torch.randn(2, 9, 70), torch.randn(2, 9, 70)
    audio, t = torch.zeros(2, 9, 8), torch.tensor([100, 900])
    assert noise_loss(oracle(frames), torch.zeros(2, 2, 70), frames, audio, t, noise) < 1e-6


def test_known_frames_are_kept_and_seen_at_every_noise_level():
    torch.manual_seed(0)
    denoiser = Denoiser(COMPACT).eval()
    references, audio, noise = torch.randn(1, 2, 70), torch.randn(1, 10, 8), torch.randn(1, 10, 70)
    seen = []

    def watched(x_t, t, audio):
        seen.append((x_t[:, 2:5], t))
        return denoiser(x_t, t, audio)

    frames = torch.randn(1, 3, 70)
    free = sample(denoiser, references, audio, noise, 4)
    held = sample(watched, references, audio, noise, 4, frames)
    assert torch.equal(held[:, :3], frames)
    assert not torch.allclose(held[:, 3:], free[:, 3:])
    assert len(seen) == 4
    for x_t, t in seen:
        close(x_t, add_noise(frames, noise[:, :3], t), 1e-6)


def test_the_same_noise_gives_the_same_motion():
    denoiser = Denoiser(COMPACT).eval()
    given = torch.randn(1, 2, 70), torch.randn(1, 10, 8), torch.randn(1, 10, 70), 3
    assert torch.equal(sample(denoiser, *given), sample(denoiser, *given))


def test_training_reduces_the_loss():
    torch.manual_seed(0)
    denoiser = Denoiser(DenoiserConfig(**{**vars(COMPACT), "prediction": "v"}))
    optimizer = torch.optim.AdamW(denoiser.parameters(), 3e-3)
    references, frames, audio = torch.zeros(8, 2, 70), torch.ones(8, 10, 70), torch.zeros(8, 10, 8)
    noise, t = torch.randn(8, 10, 70), torch.arange(100, 900, 100)
    losses = []
    for _ in range(40):
        loss = noise_loss(denoiser, references, frames, audio, t, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_step_counts_out_of_range_are_refused(steps):
    with pytest.raises(OptionError, match="steps"):
        ddim_timesteps(steps)


@pytest.mark.parametrize("steps", [1, 3, 5, 7, 10, 50, 1000])
def test_ddim_equals_diffusers_bit_for_bit(steps):
    scheduling = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    reference = scheduling.DDIMScheduler(
        num_train_timesteps=N_STEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        timestep_spacing="leading",
    )
    reference.set_timesteps(steps)
    assert reference.timesteps.tolist() == list(ddim_timesteps(steps))
    x = expected = torch.randn(2, 64, 70, generator=torch.Generator().manual_seed(steps))
    for t in ddim_timesteps(steps):
        epsilon = 0.5 * x + 0.1 * torch.sin(100 * x)
        x, expected = ddim_step(x, epsilon, t, steps), reference.step(epsilon, t, expected, eta=0.0).prev_sample
    assert torch.equal(x, expected)
