"""Timestep, rotary and relative-position embeddings."""

import math

import torch
from torch import Tensor, nn


class SinusoidalEmbedding(nn.Module):
    """Diffusion step t (B,) int64 -> (B, dim) float32: sines, then cosines, of t at frequencies from 1 to 1/10000."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Tensor) -> Tensor:
        half = self.dim // 2
        # float32 even in the exponent: the phases of the trained network carry its rounding.
        steps = torch.arange(half, device=t.device, dtype=torch.float32)
        frequencies = torch.exp(steps * (-math.log(10_000) / (half - 1)))
        phase = t[:, None] * frequencies
        return torch.cat([phase.sin(), phase.cos()], -1)


class RotaryEmbedding(nn.Module):
    """Rotates the first ``dim`` channels of queries and keys, in pairs (0, 1), (2, 3), .., by an angle set by position.

    ``freqs`` is a frozen parameter, not a buffer: it counts among the 42,926,284 parameters of the paper.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Also while networks are built on "meta", where these operations would load the whole of torch's compiler.
        steps = torch.arange(0, dim, 2, dtype=torch.float32, device="cpu")
        self.freqs = nn.Parameter(10_000 ** (-steps / dim), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, heads, N, head_dim) -> the same shape; positions are 0 .. N - 1."""
        angle = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)[:, None] * self.freqs
        rotated, kept = x[..., : 2 * len(self.freqs)], x[..., 2 * len(self.freqs) :]
        even, odd, cos, sin = rotated[..., ::2], rotated[..., 1::2], angle.cos(), angle.sin()
        pairs = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1)
        return torch.cat([pairs.flatten(-2), kept], -1)


class RelativePositionBias(nn.Module):
    """A learned bias for every head and bucket of distances, added to the attention logits (as in T5)."""

    N_BUCKETS = 32
    MAX_DISTANCE = 128
    buckets: Tensor

    def __init__(self, heads: int, max_tokens: int) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(self.N_BUCKETS, heads)
        position = torch.arange(max_tokens, device="cpu")
        self.register_buffer("buckets", distance_bucket(position[:, None] - position), persistent=False)

    def forward(self, n_tokens: int) -> Tensor:
        """(heads, N, N) bias; rows are queries, columns keys."""
        bias: Tensor = self.relative_attention_bias(self.buckets[:n_tokens, :n_tokens])
        return bias.permute(2, 0, 1)


def distance_bucket(distance: Tensor) -> Tensor:
    """Bucket 0 .. 31 of query - key distances (any int64 shape): exact below 8, then logarithmic up to 128.

    Distances back in time take buckets 0 to 15, those ahead 16 to 31.
    """
    half = RelativePositionBias.N_BUCKETS // 2
    exact = half // 2
    size = distance.abs()
    decades = torch.log(size.clamp(min=1) / exact) / math.log(RelativePositionBias.MAX_DISTANCE / exact)
    far = exact + (decades * (half - exact)).long()
    return half * (distance < 0) + torch.where(size < exact, size, far.clamp(max=half - 1))
