"""The noise schedule of KDTalker: 1000 steps, betas rising linearly from 1e-5 to 8e-3."""

import torch
from torch import Tensor

N_STEPS = 1000
BETA_START, BETA_END = 1e-5, 8e-3


def betas() -> Tensor:
    """(1000,) float32, the variance of the noise that each step adds."""
    return torch.linspace(BETA_START, BETA_END, N_STEPS, dtype=torch.float32, device="cpu")


def alphas_cumprod() -> Tensor:
    """(1000,) float32, the share of the signal's variance that is left after each step; 0.018 after the last."""
    return torch.cumprod(1 - betas(), 0)


def add_noise(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The forward process: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) epsilon.

    x_0 and epsilon (standard normal) are (B, ...) float32, t (B,) int64 steps from 0 to 999.
    """
    signal, spread = signal_and_noise(alphas_cumprod().to(clean.device), t, clean.dim())
    return signal * clean + spread * noise


def signal_and_noise(cumulative: Tensor, t: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t) of (B,) steps, shaped (B, 1, ...) with ``dims`` dimensions."""
    share = cumulative[t].reshape(-1, *[1] * (dims - 1))
    return share.sqrt(), (1 - share).sqrt()
