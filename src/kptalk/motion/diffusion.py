"""Training loss and DDIM sampling of the motion diffusion of KDTalker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from kptalk.errors import OptionError
from kptalk.networks.noise_schedule import BETA_END, BETA_START, N_STEPS, add_noise

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

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
) -> Tensor:
    """A window of motion from noise, by deterministic DDIM.

    Args:
        denoiser: predicts epsilon.
        references: (B, 2, token_dim) clean tokens.
        audio: (B, T, audio_dim) float32.
        noise: (B, T, token_dim) standard normal; fixes the result.
        steps: denoising steps, 1 to 1000.
        known_frames: (B, k, token_dim), the window's first frames: inpainting holds them, at every step, to what the
            forward process makes of them with ``noise``, so that the other frames join them smoothly.

    Returns:
        (B, T, token_dim) float32.

    Raises:
        OptionError: ``steps`` is out of range.
    """
    scheduler, x = ddim(steps), noise
    held = 0 if known_frames is None else known_frames.shape[1]
    for step in scheduler.timesteps:
        t = step.to(x.device).expand(len(x))
        if known_frames is not None:
            x = torch.cat([add_noise(known_frames, noise[:, :held], t), x[:, held:]], 1)
        x = scheduler.step(_predict(denoiser, references, x, audio, t), step, x, eta=0.0).prev_sample
    return x if known_frames is None else torch.cat([known_frames, x[:, held:]], 1)


def ddim(steps: int) -> DDIMScheduler:
    """The scheduler of the paper's sampling, set to ``steps`` steps.

    Raises:
        OptionError: ``steps`` is not within 1 to 1000.
    """
    if not 1 <= steps <= N_STEPS:
        raise OptionError(f"cannot sample in {steps} steps: give 1 to {N_STEPS}")
    # Imported here because diffusers takes a second to load, and neither training nor most commands need it.
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=N_STEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        timestep_spacing="leading",
    )
    scheduler.set_timesteps(steps)
    return scheduler


def _predict(denoiser: Predictor, references: Tensor, frames: Tensor, audio: Tensor, t: Tensor) -> Tensor:
    """Noise of the frames alone; the reference tokens hear zeros."""
    count = references.shape[1]
    epsilon = denoiser(torch.cat([references, frames], 1), t, F.pad(audio, (0, 0, count, 0)))
    return epsilon[:, count:]
