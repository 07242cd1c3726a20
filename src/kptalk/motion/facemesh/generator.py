"""Speech to motion of the space ``facemesh``.

Where KDTalker's program joins windows at one frame and pads the last one with the beginning of the clip, these windows
overlap. The first frames of a window are held to the last ones of the window before. The last frames of a window, which
have not heard what comes next, are drawn again by the next window and blended into it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from kptalk.audio import mean_norm
from kptalk.motion.diffusion import sample
from kptalk.motion.facemesh.space import N_TOKEN, FaceMeshSource, FaceMeshSpace
from kptalk.motion.generator import LARGEST_FEATURE, WINDOW, WindowGenerator, WindowGrid, WindowInput, check_output
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.types import Array, Motion

OVERLAP = 14  # frames of a window that repeat the window before
LOOKAHEAD = 6  # frames at a window's end that are drawn again by the next window, and blended into it
N_POSE = 7  # tokens; the other 63 are the expression
POSE_MEMORY = 250.0  # frames over which the head comes back to where it is in the photo
MEAN_PRIOR = 12.0  # frames of speech that the mean expression counts for in a stream's own mean


@dataclass(frozen=True)
class SamplerConfig:
    """Numbers of the sampling that go with one model.

    Two motions are drawn from the same sound: the face is taken from one, the head's pose from the other.

    Attributes:
        steps: DDIM steps.
        expression_noise: spread of the initial noise of the motion that gives the face. Below 1 it draws nearer to the
            mean of what lips may do with this sound, which is what lips must do to look right.
        pose_noise: the same for the motion that gives the head's pose, which is free.
        lip_share: how much of the mouth is the lip ensemble's, where there is one; the rest is the denoiser's.
        lip_scale: factor on the lip ensemble's mouth about the mean face that brings it to the denoiser's amplitude.
        mouth_gain: factor on what the mouth does about its mean, since near the mean amplitude is lost.
        pose_gain: (7) factors on scale, yaw, pitch, roll and translation against the portrait's own, to make up for
            smoothing and for too few steps.
        mean_expression: (63) tokens of the mean face of somebody who speaks.
    """

    steps: int = 5
    expression_noise: float = 0.0
    pose_noise: float = 1.0
    lip_share: float = 0.5
    lip_scale: float = 1.0
    mouth_gain: float = 1.0
    pose_gain: tuple[float, ...] = (1.0,) * N_POSE
    mean_expression: tuple[float, ...] = (0.0,) * (N_TOKEN - N_POSE)

    def __post_init__(self) -> None:
        """Raises ValueError where a number makes no sense: they may come from a file."""
        sizes = {"pose_gain": (N_POSE,), "mean_expression": (N_TOKEN - N_POSE,)}
        for each in fields(self):
            value = np.asarray(getattr(self, each.name))
            shaped = value.shape in {(), sizes.get(each.name, ())}  # one number stands for all
            if value.dtype.kind not in "fi" or not shaped or not (abs(value) < 1000).all():
                raise ValueError(f"a usable {each.name}")
        if self.steps % 1 or self.steps < 1:
            raise ValueError("usable steps")


@dataclass(frozen=True)
class FaceMeshMemory:
    """What a window knows of those before.

    ``tokens`` (2, 1 + OVERLAP + LOOKAHEAD, 70) are the last ones of the two motions (before the first window
    (2, 1, 70)); ``noise`` (OVERLAP + LOOKAHEAD, 70) is the noise shared with the next window; ``expression_sum`` (63,)
    over ``spoken`` frames is the mean face so far; ``pose_mean`` (7,) is where the head was lately.
    """

    tokens: Array
    noise: Array
    expression_sum: Array
    spoken: float
    pose_mean: Array


class FaceMeshGenerator(WindowGenerator[FaceMeshSource, FaceMeshMemory]):
    """Audio encoder and denoiser together: mel windows at 25 fps to motion at 25 fps.

    Where the model has a lip ensemble, the mouth is a mean of what it and the denoiser say.
    """

    grid = WindowGrid(first=WINDOW - LOOKAHEAD, stride=WINDOW - LOOKAHEAD - OVERLAP)
    draws_blinks = False
    loudness = -20.0  # median of the training clips, of which nine in ten lie between -30 and -14

    def __init__(
        self,
        space: FaceMeshSpace,
        encoder: AudioEncoder,
        denoiser: Denoiser,
        speech_mel_mean: Array,
        config: SamplerConfig,
        lips: LipEnsemble | None = None,
    ) -> None:
        super().__init__(speech_mel_mean, next(denoiser.parameters()).device)
        self.space, self.encoder, self.denoiser = space, encoder.eval(), denoiser.eval()
        self.config, self.lips = config, lips
        self.mean_expression = np.array(config.mean_expression, np.float32)

    def with_steps(self, steps: int | None) -> FaceMeshGenerator:
        config = self.config if steps is None else replace(self.config, steps=steps)
        return FaceMeshGenerator(self.space, self.encoder, self.denoiser, self.speech_mel_mean, config, self.lips)

    def first_memory(self, source: FaceMeshSource) -> FaceMeshMemory:
        """See ``WindowGenerator``; the head is as in the photo."""
        # Not the photo's own expression: from pressed lips or a broad smile the denoiser would conclude how this person
        # speaks. Control eases from the photo's face into the motion.
        own = np.concatenate([np.zeros(N_POSE, np.float32), self.mean_expression])
        return FaceMeshMemory(
            tokens=np.tile(own, (2, 1, 1)),
            noise=np.zeros((0, N_TOKEN), np.float32),
            expression_sum=self.mean_expression * MEAN_PRIOR,
            spoken=MEAN_PRIOR,
            pose_mean=np.zeros(N_POSE, np.float32),
        )

    def draw(
        self, window: WindowInput, source: FaceMeshSource, memory: FaceMeshMemory
    ) -> tuple[Motion, FaceMeshMemory]:
        fresh = window.rng.standard_normal((WINDOW - len(memory.noise), N_TOKEN), np.float32)
        noise = np.concatenate([memory.noise, fresh])
        tokens = self._sample(window, source, memory, noise)
        memory = replace(memory, tokens=tokens[:, self.grid.stride - 1 :], noise=noise[self.grid.stride :])
        amplified, memory = self._amplify(tokens[:, window.new_frames], window.activity[window.new_frames], memory)
        return self.space.motion(amplified, source.motion), memory

    def _sample(self, window: WindowInput, source: FaceMeshSource, memory: FaceMeshMemory, noise: Array) -> Array:
        """The two motions of a window as tokens, (2, 64, 70)."""
        spread = np.array([self.config.expression_noise, self.config.pose_noise], np.float32)
        canonical = self.space.canonical_token(source.canonical)
        references = np.stack([canonical[None].repeat(2, 0), memory.tokens[:, 0]], 1)
        overlap = window.new_frames.start
        with torch.inference_mode():
            mels = self.tensor(mean_norm.apply(window.mels, window.mean_norm))
            features = check_output(self.encoder(mels), "audio encoder", LARGEST_FEATURE)
            drawn = sample(
                self.denoiser,
                self.tensor(references),
                features.expand(2, -1, -1),
                self.tensor(noise * spread[:, None, None]),
                self.config.steps,
                self.tensor(memory.tokens[:, 1 : 1 + overlap]) if overlap else None,
            )
            lips = None if self.lips is None else check_output(self.lips(mels[None])[0], "lip ensemble")
        tokens: Array = check_output(drawn, "denoiser").cpu().numpy()
        if lips is not None:
            tokens[0, overlap:, N_POSE:] += self._blend_lips(lips[overlap:].cpu().numpy(), tokens[0, overlap:, N_POSE:])
        if overlap:  # from what the last window drew beyond its own frames to what this one draws
            share = (np.arange(1, LOOKAHEAD + 1, dtype=np.float32) / (LOOKAHEAD + 1))[:, None]
            seam = slice(overlap, overlap + LOOKAHEAD)
            tokens[:, seam] = share * tokens[:, seam] + (1 - share) * memory.tokens[:, 1 + overlap :]
        return tokens

    def _blend_lips(self, lips: Array, drawn: Array) -> Array:
        """What moves the mouth of a drawn face (n, 63) towards the one that the lip ensemble predicts, (n, 63)."""
        wanted = self.mean_expression + self.config.lip_scale * (lips - self.mean_expression)
        return self.config.lip_share * self.space.mouth_tokens(wanted - drawn)

    def _amplify(self, drawn: Array, activity: Array, memory: FaceMeshMemory) -> tuple[Array, FaceMeshMemory]:
        """Face of the first and pose of the second motion (2, n, 70), at their full amplitude: (n, 70), and the memory.

        The mouth is amplified about the stream's own running mean, which is moved to the usual one: else a voice for
        which the denoiser expects small movements would end in a mouth that never opens. The head is amplified about
        where it has been in the last seconds: windows that continue one another would let it look aside for minutes.
        """
        face, head = drawn
        expression = face[:, N_POSE:]
        first, before = memory.spoken == MEAN_PRIOR, memory.expression_sum / memory.spoken
        total, spoken = memory.expression_sum + activity @ expression, memory.spoken + activity.sum()
        # From one window's mean to the next without a step; the first window is complete before any of it is output.
        share = np.linspace(1 if first else 0, 1, len(expression), dtype=np.float32)[:, None]
        mean = (1 - share) * before + share * (total / spoken)
        amplified = self.config.mouth_gain * (expression - mean) + self.mean_expression
        mouth = self.space.mouth_tokens(amplified - expression)
        means = [memory.pose_mean]
        for pose in head[:, :N_POSE]:
            means.append(means[-1] + (pose - means[-1]) / POSE_MEMORY)
        pose = np.array(self.config.pose_gain, np.float32) * (head[:, :N_POSE] - np.stack(means[1:]))
        memory = replace(memory, expression_sum=total, spoken=spoken, pose_mean=means[-1])
        return np.concatenate([pose, expression + mouth], 1), memory
