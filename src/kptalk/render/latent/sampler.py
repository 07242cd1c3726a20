"""DDIM sampling of frames, from the warped photo under noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from kptalk.motion.diffusion import ddim_step
from kptalk.networks.frame_unet import FrameUNet
from kptalk.networks.noise_schedule import N_STEPS, add_noise, alphas_cumprod
from kptalk.render.latent.conditions import MAPS


def timesteps(steps: int) -> range:
    """The steps of the sampling from the noisiest, 999, on: evenly spaced, "trailing" as diffusers calls it."""
    return range(N_STEPS - 1, -1, -(N_STEPS // steps))[:steps]


def sample_frames(
    network: FrameUNet,
    condition: Tensor,
    base: Tensor,
    noise: Tensor,
    steps: int,
    guidance: float = 1.0,
    audio: Tensor | None = None,
) -> Tensor:
    """Neighbouring frames from noise, by deterministic DDIM.

    Args:
        network: predicts what is added to ``base``.
        condition: (B, F, C, S, S), see ``conditions``.
        base: (B, F, 3, S, S), the warped photo, -1 to 1.
        noise: standard normal, broadcast to ``base``: the same for all frames of a video, or it would boil.
        steps: denoising steps.
        guidance: weight of what the landmarks change in the prediction; 1 is the plain prediction.
        audio: (B, F, A), for a network without landmarks.

    Returns:
        (B, F, 3, S, S) float32, -1 to 1.
    """
    unguided = condition
    if guidance != 1:
        unguided = condition.clone()
        unguided[:, :, MAPS] = 0

    def predict(x: Tensor, t: Tensor) -> Tensor:
        change: Tensor = network(x, t, condition, audio)
        if guidance != 1:
            without = network(x, t, unguided, audio)
            change = without + guidance * (change - without)
        return (base + change).clamp(-1, 1)

    return ddim(predict, base, noise, steps)


def ddim(predict: Callable[[Tensor, Tensor], Tensor], base: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Deterministic DDIM from ``base`` (B, F, ...) under all of the noise.

    ``predict(x, t)`` gives the clean frames for noisy ones at the steps t (B,); ``noise`` is broadcast to ``base``.
    """
    last = torch.full((len(base),), N_STEPS - 1, device=base.device)
    x, clean = add_noise(base, noise.expand_as(base), last), base
    for step in timesteps(steps):
        clean = predict(x, torch.full((len(base),), step, device=base.device))
        share = alphas_cumprod()[step]
        x = ddim_step(x, (x - share.sqrt() * clean) / (1 - share).sqrt(), step, steps)
    return clean
