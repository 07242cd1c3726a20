"""Other generators with the denoiser's backbone, to compare diffusion with: a VAE, a GAN, and both together.

All draw a window of motion in one pass from one code for the whole window, on the conditions that the denoiser has, and
are trained by the squared error to the real window. The VAE's code is what an encoder reads from that window; the GAN's
critic sees windows with their conditions. (A critic alone was tried with the hinge loss and with least squares: motion
grew without bound, probably since the layer norms of the backbone hide its size from the critic.)
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.motion.diffusion import sample
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.train.loop import Draw, Loss
from kptalk.train.motion import MotionData, WindowSampler, channel_weights
from kptalk.train.motion import build as build_denoiser
from kptalk.train.motion import loss as denoiser_loss

KINDS = ("diffusion", "VAE", "GAN", "VAE+GAN")
DIVERGENCE_WEIGHT = 1e-3  # of the code's divergence from a normal distribution, against the mean squared error
CRITIC_WEIGHT = 0.1  # of what the critic finds wrong, against the same


class OneStepGenerator(nn.Module):
    """The denoiser's network from a code to a window of motion, with what it is trained by."""

    def __init__(self, config: DenoiserConfig, variational: bool, adversarial: bool) -> None:
        super().__init__()
        half = replace(config, depth=max(1, config.depth // 2))
        self.network = Denoiser(config)
        self.encoder = Denoiser(half) if variational else None
        self.code = nn.Linear(config.token_dim, 2 * config.token_dim) if variational else None
        self.critic = Denoiser(half) if adversarial else None
        self.verdict = nn.Linear(config.token_dim, 1) if adversarial else None

    def generate(self, references: Tensor, audio: Tensor, code: Tensor) -> Tensor:
        """Frames (B, W, D) from references (B, 2, D), features (B, W, 512) and a code (B, D)."""
        return _run(self.network, references, code[:, None].expand(-1, audio.shape[1], -1), audio)

    def encode(self, references: Tensor, frames: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, D) of the code of real frames."""
        assert self.encoder is not None
        assert self.code is not None
        mean, log_variance = self.code(_run(self.encoder, references, frames, audio).mean(1)).chunk(2, -1)
        return mean, log_variance.clamp(-10, 10)

    def judge(self, references: Tensor, frames: Tensor, audio: Tensor) -> Tensor:
        """How real the critic finds frames with their conditions, (B, W)."""
        assert self.critic is not None
        assert self.verdict is not None
        verdict: Tensor = self.verdict(_run(self.critic, references, frames, audio))
        return verdict[..., 0].float()


def _run(network: nn.Module, references: Tensor, frames: Tensor, audio: Tensor) -> Tensor:
    """The backbone's output at the frames; its step is always 0."""
    count = references.shape[1]
    t = torch.zeros(len(frames), dtype=torch.int64, device=frames.device)
    out: Tensor = network(torch.cat([references, frames], 1), t, F.pad(audio, (0, 0, count, 0)))
    return out[:, count:]


def build(kind: str, data: MotionData) -> nn.Module:
    """The untrained network of a kind of generator."""
    if kind == "diffusion":
        return build_denoiser(data)
    return OneStepGenerator(data.config.network, "VAE" in kind, "GAN" in kind)


def loss(kind: str, data: MotionData) -> Loss:
    """What a kind of generator is trained by."""
    if kind == "diffusion":
        return denoiser_loss(data)
    sampler, channels = WindowSampler.of(data), channel_weights(data)

    def batch_loss(model: nn.Module, draw: Draw) -> Tensor:
        assert isinstance(model, OneStepGenerator)
        device = next(model.parameters()).device
        references, frames, audio, _, noise = sampler.batch(draw, device)
        code = noise[:, 0]
        with draw.autocast(device):
            if model.encoder is not None:
                mean, log_variance = (each.float() for each in model.encode(references, frames, audio))
                code = mean + code * (log_variance / 2).exp()
                divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1).mean() / 2
            drawn = model.generate(references, audio, code).float()
        total = ((drawn - frames) ** 2 * channels.to(device)).mean()
        if model.encoder is not None:
            total = total + DIVERGENCE_WEIGHT * divergence
        if model.critic is None:
            return total
        with draw.autocast(device):
            # least squares (Mao et al. 2017)
            own = (model.judge(references, frames, audio) - 1).square().mean()
            own = own + model.judge(references, drawn.detach(), audio).square().mean()
            model.critic.requires_grad_(False)
            found = (model.judge(references, drawn, audio) - 1).square().mean()
            model.critic.requires_grad_(True)
        return total + own + CRITIC_WEIGHT * found

    return batch_loss


@torch.inference_mode()
def draw_window(model: nn.Module, references: Tensor, audio: Tensor, noise: Tensor, steps: int) -> Tensor:
    """A window of motion (B, W, D) from noise of that shape; ``steps`` count for diffusion alone."""
    if isinstance(model, OneStepGenerator):
        return model.generate(references, audio, noise[:, 0]).float()
    return sample(model, references, audio, noise, steps)
