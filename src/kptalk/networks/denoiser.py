"""KDTalker's spatiotemporal-attention denoiser: predicts the noise in 64 frames of motion.

A token is one frame. Two clean reference tokens go first: what the face is (canonical keypoints), and the frame before
the window. Each token is modulated by the diffusion step and by its own audio feature; context reaches it through
self-attention over all 66. Parameter names are those of ``KDTalker.pth`` after ``OFFICIAL_PREFIX``.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kptalk.networks.embedding import RelativePositionBias, RotaryEmbedding, SinusoidalEmbedding
from kptalk.networks.noise_schedule import alphas_cumprod, signal_and_noise

OFFICIAL_PREFIX = "point_model.model."


@dataclass(frozen=True)
class DenoiserConfig:
    """Architecture numbers; the defaults are the paper's (42,926,284 parameters).

    Attributes:
        token_dim: numbers of a frame's motion.
        audio_dim: numbers of a frame's audio feature.
        dim: width.
        depth: layers, each of two modulated blocks and attention.
        heads: of the attention.
        head_dim: width of each.
        time_dim: width of the diffusion step's embedding.
        rotary_dim: channels of a head that rotate, 0 for none; the paper's code uses the number of heads.
        window: frames.
        references: clean tokens before the frames.
        prediction: what the last layer gives, epsilon or v; a small network learns v much faster.
        attention: whether layers have attention; without it a frame knows nothing of the others.
    """

    token_dim: int = 70
    audio_dim: int = 512
    dim: int = 768
    depth: int = 6
    heads: int = 12
    head_dim: int = 64
    time_dim: int = 256
    rotary_dim: int = 12
    window: int = 64
    references: int = 2
    prediction: Literal["epsilon", "v"] = "epsilon"
    attention: bool = True

    def __post_init__(self) -> None:
        if self.prediction not in ("epsilon", "v"):
            raise ValueError(f"unknown prediction {self.prediction!r}: expected 'epsilon' or 'v'")


class Condition(NamedTuple):
    """What modulates the tokens, after its activation."""

    step: Tensor  # (B, 1, time_dim)
    audio: Tensor  # (B, N, audio_dim)


class LayerNorm(nn.Module):
    """Layer normalisation over the channels; parameter names and shapes are the checkpoint's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gamma.flatten(), self.beta.flatten())


class ResnetBlock(nn.Module):
    """Two linear layers; the first is normalised, then scaled and shifted by step and audio."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(config.time_dim + config.audio_dim, 2 * config.dim))
        self.block1, self.block2 = (
            nn.ModuleDict({"proj": nn.Linear(config.dim, config.dim), "norm": LayerNorm(config.dim)}) for _ in range(2)
        )  # the second norm is never applied, but the checkpoint holds it

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """(B, N, dim) -> (B, N, dim)."""
        # The linear layer on [step, audio], in two parts because the step is the same for all tokens.
        weight, bias = self.mlp[1].parameters()
        of_step, of_audio = torch.split(weight, [condition.step.shape[-1], condition.audio.shape[-1]], 1)
        modulation = F.linear(condition.audio, of_audio) + F.linear(condition.step, of_step, bias)
        scale, shift = modulation.chunk(2, -1)
        h = F.silu(self.block1["norm"](self.block1["proj"](x)) * (scale + 1) + shift)
        return F.silu(self.block2["proj"](h)) + x


class Attention(nn.Module):
    """Full self-attention with rotary embedding and a bias for relative position."""

    def __init__(self, config: DenoiserConfig, rotary: RotaryEmbedding) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        inner = config.heads * config.head_dim
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, config.dim)
        self.rotary_emb = rotary

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(B, N, dim) and (heads, N, N) -> (B, N, dim)."""
        query, key, value = self.to_qkv(x).unflatten(-1, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        query, key = self.rotary_emb(query), self.rotary_emb(key)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Residual(nn.Module):
    """Adds attention on normalised tokens to its input."""

    def __init__(self, config: DenoiserConfig, rotary: RotaryEmbedding) -> None:
        super().__init__()
        self.fn = nn.ModuleDict({"fn": Attention(config, rotary), "norm": LayerNorm(config.dim)})

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.fn["fn"](self.fn["norm"](x), bias) + x


class Layer(nn.ModuleList):
    """Two modulated blocks, then attention; a list, because the checkpoint numbers the three."""

    def __init__(self, config: DenoiserConfig, rotary: RotaryEmbedding) -> None:
        attention = [Residual(config, rotary)] if config.attention else []
        super().__init__([ResnetBlock(config), ResnetBlock(config), *attention])

    def forward(self, x: Tensor, condition: Condition, bias: Tensor) -> Tensor:
        """(B, N, dim) -> (B, N, dim)."""
        first, second, *attention = self
        x = second(first(x, condition), condition)
        return attention[0](x, bias) if attention else x


class Denoiser(nn.Module):
    """Noise prediction for a window of motion; float32."""

    cumulative: Tensor

    def __init__(self, config: DenoiserConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DenoiserConfig()
        dim, time = config.dim, config.time_dim
        self.time_mlp = nn.Sequential(SinusoidalEmbedding(dim), nn.Linear(dim, time), nn.SiLU(), nn.Linear(time, time))
        self.positional_encoding = nn.Module()  # the checkpoint holds it, no forward pass reads it
        self.positional_encoding.register_buffer("freq_bands", 2.0 ** torch.linspace(1, 9, 10, device="cpu"))
        self.input_projection = nn.Linear(config.token_dim, config.dim)
        self.time_rel_pos_bias = RelativePositionBias(config.heads, config.references + config.window)
        rotary = RotaryEmbedding(config.rotary_dim)
        self.layers = nn.ModuleList(Layer(config, rotary) for _ in range(config.depth))
        self.output_projection = nn.Linear(config.dim, config.token_dim)
        self.register_buffer("cumulative", alphas_cumprod(), persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, audio: Tensor) -> Tensor:
        """Predicts epsilon.

        Args:
            x_t: (B, 2 + frames, token_dim) float32: clean reference tokens, then noisy frames (at most ``window``).
            t: (B,) int64 diffusion steps, 0 to 999.
            audio: (B, 2 + frames, audio_dim) float32; zeros for the reference tokens.

        Returns:
            (B, 2 + frames, token_dim) float32; the first two tokens have no meaning. With v-prediction (Salimans and Ho
            2022) the last layer gives v, and epsilon = sqrt(abar_t) v + sqrt(1 - abar_t) x_t.

        Raises:
            ValueError: there are more tokens than the model has positions for.
        """
        if x_t.shape[1] > (limit := self.config.references + self.config.window):
            raise ValueError(f"sequence of {x_t.shape[1]} tokens exceeds the maximum of {limit}")
        condition = Condition(F.silu(self.time_mlp(t))[:, None], F.silu(audio))
        bias = self.time_rel_pos_bias(x_t.shape[1])
        h = self.input_projection(x_t)
        for layer in self.layers:
            h = layer(h, condition, bias)
        out: Tensor = self.output_projection(h)
        if self.config.prediction == "v":
            signal, spread = signal_and_noise(self.cumulative, t, out.dim())
            out = signal * out + spread * x_t
        return out
