"""The score of a motion denoiser: windows that it samples for people held out, measured as the evaluation does.

The mouth's motion and the head's are sampled apart, as the generator does: the mouth near its mean, the head freely.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kptalk.evaluate.metrics.head import bursts, fast_share
from kptalk.evaluate.metrics.lips import best_lag, correlation
from kptalk.motion.diffusion import sample
from kptalk.motion.facemesh.generator import N_POSE
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import FPS
from kptalk.train.data import TrainingClip
from kptalk.train.loop import Score
from kptalk.types import Array, Floats

MOUTH_NOISE = 0.3  # spread of the initial noise of the motion that the mouth is taken from
AT_ONCE = 64  # windows that are sampled together


def sampled_score(
    space: FaceMeshSpace, clips: Sequence[TrainingClip], features: Sequence[Array], steps: int, canonical: bool = True
) -> Score:
    """Columns of the first windows of clips, sampled.

    ``score`` is ``lip_r``: the mean correlation of the lip opening with the real one. ``lip_lag`` is in frames,
    ``lip_amplitude``, ``head_spread`` and ``head_speed`` are ratios to the real one's, ``head_fast`` is the share of
    the head's power above 2.5 Hz in percent, ``head_bursts`` says whether it moves in bursts; see ``kptalk.evaluate``.

    Args:
        space: of the clips' tokens.
        clips: longer than a window.
        features: (W, 512) of each, from its second frame on.
        steps: of the sampler.
        canonical: whether the first reference token says what the face is.
    """
    window, opening = len(features[0]), space.lip_tokens()
    audio = torch.from_numpy(np.stack(features).astype(np.float32))
    first = [np.stack([clip.canonical if canonical else 0 * clip.canonical, clip.tokens[0]]) for clip in clips]
    references = torch.from_numpy(np.stack(first))
    real = np.stack([clip.tokens[1 : window + 1] for clip in clips])
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))

    def held_out_score(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device

        def drawn(spread: float) -> Array:
            parts = []
            for begin in range(0, len(noise), AT_ONCE):
                rows = slice(begin, begin + AT_ONCE)
                known, heard = references[rows].to(device), audio[rows].to(device)
                loose = N_POSE if spread == 1 else 0
                parts.append(sample(model, known, heard, spread * noise[rows].to(device), steps, uncertain=loose).cpu())
            return np.asarray(torch.cat(parts).numpy())

        mouth, free = drawn(MOUTH_NOISE), drawn(1.0)
        return {**lip_columns(mouth[..., N_POSE:] @ opening, real[..., N_POSE:] @ opening)} | head_columns(
            free[..., 1:4] * space.pose_std[1:4], real[..., 1:4] * space.pose_std[1:4]
        )

    return held_out_score


def lip_columns(generated: Floats, real: Floats) -> dict[str, float]:
    """Of lip openings (N, T): correlation (also as ``score``), lag in frames, and amplitude against the real one's."""
    pairs = list(zip(generated, real, strict=True))
    r = float(np.nanmean([correlation(ours, theirs) for ours, theirs in pairs]))
    lag = float(np.nanmean([best_lag(ours, theirs) for ours, theirs in pairs]))
    return {"score": r, "lip_r": r, "lip_lag": lag, "lip_amplitude": _ratio(generated.std(1), real.std(1))}


def head_columns(generated: Floats, real: Floats) -> dict[str, float]:
    """Of head angles (N, T, 3) in degrees: spread and speed against the real ones, power above 2.5 Hz, bursts."""
    speeds = [np.diff(angles, axis=1).std((1, 2)) * float(FPS) for angles in (generated, real)]
    spreads = [angles.std(1).mean(-1) for angles in (generated, real)]
    return {
        "head_spread": _ratio(*spreads),
        "head_speed": _ratio(*speeds),
        "head_fast": float(100 * np.nanmean([fast_share(angles) for angles in generated])),
        "head_bursts": float(np.nanmean([bursts(angles) for angles in generated])),
    }


def _ratio(generated: NDArray[np.generic], real: NDArray[np.generic]) -> float:
    """Of means over clips."""
    return float(np.mean(np.asarray(generated, float)) / max(float(np.mean(np.asarray(real, float))), 1e-6))
