"""Training loss and DDIM sampling of the motion diffusion of KDTalker."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kptalk.errors import OptionError
from kptalk.networks.noise_schedule import N_STEPS, add_noise, alphas_cumprod

Predictor = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t, t, audio) -> epsilon, as Denoiser.forward


def noise_loss(
    denoiser: Predictor,
    references: Tensor,
    frames: Tensor,
    audio: Tensor,
    t: Tensor,
    noise: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the predicted noise.

    Args:
        denoiser: predicts epsilon.
        references: (B, 2, token_dim) clean tokens.
        frames: (B, T, token_dim) clean motion x_0.
        audio: (B, T, audio_dim).
        t: (B,) int64 steps, 0 to 999.
        noise: epsilon, standard normal, shaped as ``frames``.
        weight: of each squared error, broadcast to ``frames``; None counts all channels alike, as the paper does.
    """
    predicted = _predict(denoiser, references, add_noise(frames, noise, t), audio, t)
    error = (predicted.float() - noise) ** 2
    return (error if weight is None else error * weight).mean()


@torch.inference_mode()
def sample(
    denoiser: Predictor,
    references: Tensor,
    audio: Tensor,
    noise: Tensor,
    steps: int,
    known_frames: Tensor | None = None,
    uncertain: int = 0,
) -> Tensor:
    """A window of motion from noise, by deterministic DDIM.

    Where the denoiser does not know what comes, DDIM shrinks what it draws by the cosine of every step: in five steps a
    spread of 1 ends as 0.8. Channels of unit variance that stay uncertain, as a head's pose, are stepped by Euler's
    method in the angle of the noise schedule instead, which keeps their spread whatever the number of steps.

    Args:
        denoiser: predicts epsilon.
        references: (B, 2, token_dim) clean tokens.
        audio: (B, T, audio_dim) float32.
        noise: (B, T, token_dim) standard normal; fixes the result.
        steps: denoising steps, 1 to 1000.
        known_frames: (B, k, token_dim), the window's first frames: inpainting holds them, at every step, to what the
            forward process makes of them with ``noise``, so that the other frames join them smoothly.
        uncertain: how many of the first channels are stepped by Euler's method.

    Returns:
        (B, T, token_dim) float32.

    Raises:
        OptionError: ``steps`` is out of range.
    """
    x, held = noise, 0 if known_frames is None else known_frames.shape[1]
    for step in ddim_timesteps(steps):
        t = torch.full((len(x),), step, device=x.device)
        if known_frames is not None:
            x = torch.cat([add_noise(known_frames, noise[:, :held], t), x[:, held:]], 1)
        epsilon = _predict(denoiser, references, x, audio, t)
        loose = euler_step(x[..., :uncertain], epsilon[..., :uncertain], step, steps)
        x = torch.cat([loose, ddim_step(x[..., uncertain:], epsilon[..., uncertain:], step, steps)], -1)
    return x if known_frames is None else torch.cat([known_frames, x[:, held:]], 1)


def ddim_timesteps(steps: int) -> range:
    """The timesteps at which ``steps`` steps of DDIM stand, the noisiest first, evenly spaced down to 0.

    Raises:
        OptionError: ``steps`` is not within 1 to 1000.
    """
    if not 1 <= steps <= N_STEPS:
        raise OptionError(f"cannot sample in {steps} steps: give 1 to {N_STEPS}")
    stride = N_STEPS // steps
    return range((steps - 1) * stride, -1, -stride)


def ddim_step(x: Tensor, epsilon: Tensor, t: int, steps: int) -> Tensor:
    """One deterministic step from timestep ``t``, of ``steps`` in all (Song et al. 2021, equation 12 with sigma 0).

    Args:
        x: (B, ...) float32, the sample at ``t``.
        epsilon: the noise predicted in it, shaped as ``x``.
        t: one of ``ddim_timesteps(steps)``.
        steps: as there.

    Returns:
        The sample at the next timestep, clean after the last; bit for bit what diffusers' ``DDIMScheduler`` computes.
    """
    now, then = _shares(t, steps)
    clean = (x - (1 - now) ** 0.5 * epsilon) / now**0.5
    return then**0.5 * clean + (1 - then) ** 0.5 * epsilon


def euler_step(x: Tensor, epsilon: Tensor, t: int, steps: int) -> Tensor:
    """One step of Euler's method in the angle a of the schedule, x_t = cos(a) x_0 + sin(a) epsilon; as ``ddim_step``.

    x <- x - (step of a) v with v = cos(a) epsilon - sin(a) x_0, which is dx/da (Salimans and Ho 2022).
    """
    now, then = _shares(t, steps)
    clean = (x - (1 - now) ** 0.5 * epsilon) / now**0.5
    velocity = now**0.5 * epsilon - (1 - now) ** 0.5 * clean
    return x - (now.sqrt().acos() - then.sqrt().acos()) * velocity


def _shares(t: int, steps: int) -> tuple[Tensor, Tensor]:
    """Cumulative alphas at timestep ``t`` and at the next one; 1 after the last."""
    share, after = alphas_cumprod(), t - N_STEPS // steps
    return share[t], share[after] if after >= 0 else torch.ones(())


def _predict(denoiser: Predictor, references: Tensor, frames: Tensor, audio: Tensor, t: Tensor) -> Tensor:
    """Noise of the frames alone; the reference tokens hear zeros."""
    count = references.shape[1]
    epsilon = denoiser(torch.cat([references, frames], 1), t, F.pad(audio, (0, 0, count, 0)))
    return epsilon[:, count:]
