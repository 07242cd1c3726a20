"""Speech to motion of the space ``facemesh``.

Where KDTalker's program joins windows at one frame and pads the last one with the beginning of the clip, these windows
overlap. The first frames of a window are held to the last ones of the window before. The last frames of a window, which
have not heard what comes next, are drawn again by the next window and blended into it.

The head is either a process of its own, without windows (``kptalk.motion.head``), or drawn by the denoiser: then from a
second motion, since the first one is a mean face.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from kptalk.audio import mean_norm
from kptalk.errors import OptionError
from kptalk.motion import head
from kptalk.motion.diffusion import sample
from kptalk.motion.facemesh.space import N_TOKEN, FaceMeshSource, FaceMeshSpace
from kptalk.motion.facemesh.style import style_of_motion
from kptalk.motion.generator import (
    LARGEST_FEATURE,
    WINDOW,
    GeneratorState,
    WindowGenerator,
    WindowGrid,
    WindowInput,
    check_output,
    speech_levels,
)
from kptalk.motion.head import N_POSE as N_POSE  # of the tokens; the other 63 are the expression
from kptalk.motion.head import N_STYLE, Doubles, HeadModel, HeadState
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.options import Control
from kptalk.types import Array, Motion

OVERLAP = 14  # frames of a window that repeat the window before
LOOKAHEAD = 6  # frames at a window's end that are drawn again by the next window, and blended into it
POSE_MEMORY = 250.0  # frames over which the head comes back to where it is in the photo
LIP_CONTEXT = 20  # frames before the new ones that the lip ensemble hears, more than its convolutions reach
MEAN_PRIOR = 12.0  # frames of speech that the mean expression counts for in a stream's own mean


@dataclass(frozen=True)
class SamplerConfig:
    """Numbers of the sampling that go with one model.

    Where the head is no process, two motions are drawn from the same sound: the face is taken from one, the head's pose
    from the other.

    Attributes:
        steps: DDIM steps.
        expression_noise: spread of the initial noise of the motion that gives the face. Below 1 it draws nearer to the
            mean of what lips may do with this sound, which is what lips must do to look right.
        pose_noise: the same for the motion that gives the head's pose, which is free.
        lip_share: how much of the mouth is the lip ensemble's, where there is one; the rest is the denoiser's.
        lip_scale: factor on the lip ensemble's mouth about the mean face that brings it to the denoiser's amplitude.
        mouth_gain: factor on what the mouth does about its mean, since near the mean amplitude is lost.
        pose_gain: (7) factors on scale, yaw, pitch, roll and translation of that motion against the portrait's own, to
            make up for smoothing, and for how timid the denoiser is with a voice that it does not know.
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

    ``tokens`` (m, 1 + overlap + lookahead, 70) are the last ones of the one or two motions (before the first window
    (m, 1, 70)); ``noise`` (overlap + lookahead, 70) is the noise shared with the next window; ``expression_sum`` (63,)
    over ``spoken`` frames is the mean face so far. The head's process is at ``head``, or a drawn head was lately at
    ``pose_mean`` (7,).
    ``features`` (64 - stride, 512) are the audio encoder's for the frames that come again, if they are kept.
    """

    tokens: Array
    noise: Array
    expression_sum: Array
    spoken: float
    pose_mean: Array
    head: HeadState | None = None
    features: Array | None = None


class FaceMeshGenerator(WindowGenerator[FaceMeshSource, FaceMeshMemory]):
    """Audio encoder and denoiser together: mel windows at 25 fps to motion at 25 fps.

    Where the model has a lip ensemble, the mouth is a mean of what it and the denoiser say. Where it has a ``head``,
    the head's pose is its process. Of a window's 64 frames, ``overlap`` repeat the window before, and ``lookahead``
    will be drawn again: fewer new frames come sooner, and cost more. For live use 47 and 6 give 11 frames a window.
    """

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
        head: HeadModel | None = None,
        overlap: int = OVERLAP,
        lookahead: int = LOOKAHEAD,
    ) -> None:
        super().__init__(speech_mel_mean, next(denoiser.parameters()).device)
        self.space, self.encoder, self.denoiser = space, encoder.eval(), denoiser.eval()
        self.config, self.lips, self.head = config, lips, head
        self.keeps_features = False
        self._set_windows(overlap, lookahead)
        self.mean_expression = np.array(config.mean_expression, np.float32)

    def with_steps(self, steps: int | None) -> FaceMeshGenerator:
        other = copy(self)
        other.config = self.config if steps is None else replace(self.config, steps=steps)
        return other

    def with_windows(self, stride: int, lookahead: int) -> FaceMeshGenerator:
        other = copy(self)
        other.keeps_features = True
        other._set_windows(WINDOW - stride - lookahead, lookahead)
        return other

    def _set_windows(self, overlap: int, lookahead: int) -> None:
        if overlap < 0 or lookahead < 0 or overlap + lookahead >= WINDOW:
            raise OptionError(f"{overlap} + {lookahead} frames of overlap and lookahead leave none of {WINDOW} new")
        self.lookahead = lookahead
        self.grid = WindowGrid(first=WINDOW - lookahead, stride=WINDOW - lookahead - overlap)

    def style(self, control: Control, seed: int) -> Doubles:
        """See ``WindowGenerator``: drawn by the seed, that of a motion, or as calm or lively as wanted."""
        if self.head is None:
            return super().style(control, seed)
        if isinstance(control.style, Motion):
            given = np.array(control.style.style)
            style = given if len(given) == N_STYLE else style_of_motion(self.space, control.style, self.head)
        else:
            style = self.head.draw_style(seed, {"calm": -head.LIVELY, "lively": head.LIVELY}.get(str(control.style)))
        style = self.head.livelier(style, control.liveliness)
        return style if control.head_spread is None else self.head.with_yaw(style, control.head_spread)

    def start(
        self, source: FaceMeshSource, seed: int, style: Doubles | None = None
    ) -> GeneratorState[FaceMeshSource, FaceMeshMemory]:
        state = super().start(source, seed)
        if self.head is None:
            return state
        begun = head.start(self.head, self.head.draw_style(seed) if style is None else style, seed)
        return replace(state, memory=replace(state.memory, head=begun))

    def first_memory(self, source: FaceMeshSource) -> FaceMeshMemory:
        """See ``WindowGenerator``; the head is as in the photo."""
        # Not the photo's own expression: from pressed lips or a broad smile the denoiser would conclude how this person
        # speaks. Control eases from the photo's face into the motion.
        own = np.concatenate([np.zeros(N_POSE, np.float32), self.mean_expression])
        return FaceMeshMemory(
            tokens=np.tile(own, (self._motions, 1, 1)),
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
        tokens, memory = self._sample(window, source, memory, noise)
        memory = replace(memory, tokens=tokens[:, self.grid.stride - 1 :], noise=noise[self.grid.stride :])
        expression, memory = self._amplified(
            tokens[0, window.new_frames, N_POSE:], window.activity[window.new_frames], memory
        )
        pose, memory = self._pose(window, tokens, memory)
        return self.space.motion(np.concatenate([pose, expression], 1), source.motion), memory

    @property
    def _motions(self) -> int:
        """How many motions are drawn."""
        return 1 if self.head else 2

    def _sample(
        self, window: WindowInput, source: FaceMeshSource, memory: FaceMeshMemory, noise: Array
    ) -> tuple[Array, FaceMeshMemory]:
        """The motions of a window as tokens, (m, 64, 70)."""
        spread = np.array([self.config.expression_noise, self.config.pose_noise], np.float32)[: self._motions]
        canonical = self.space.canonical_token(source.canonical)
        references = np.stack([canonical[None].repeat(self._motions, 0), memory.tokens[:, 0]], 1)
        overlap = window.new_frames.start
        with torch.inference_mode():
            mels = self.tensor(mean_norm.apply(window.mels, window.mean_norm))
            features, memory = self._encoded(mels, memory)
            drawn = sample(
                self.denoiser,
                self.tensor(references),
                features.expand(self._motions, -1, -1),
                self.tensor(noise * spread[:, None, None]),
                self.config.steps,
                self.tensor(memory.tokens[:, 1 : 1 + overlap]) if overlap else None,
                uncertain=N_POSE,
            )
            near = max(0, overlap - LIP_CONTEXT) if self.keeps_features else 0
            lips = None if self.lips is None else check_output(self.lips(mels[None, near:])[0], "lip ensemble")
        tokens: Array = check_output(drawn, "denoiser").cpu().numpy()
        if lips is not None:
            tokens[0, overlap:, N_POSE:] += self._blend_lips(
                lips[overlap - near :].cpu().numpy(), tokens[0, overlap:, N_POSE:]
            )
        if overlap:  # from what the last window drew beyond its own frames to what this one draws
            share = (np.arange(1, self.lookahead + 1, dtype=np.float32) / (self.lookahead + 1))[:, None]
            seam = slice(overlap, overlap + self.lookahead)
            tokens[:, seam] = share * tokens[:, seam] + (1 - share) * memory.tokens[:, 1 + overlap :]
        return tokens, memory

    def _encoded(self, mels: torch.Tensor, memory: FaceMeshMemory) -> tuple[torch.Tensor, FaceMeshMemory]:
        """The audio encoder's features (64, 512) of a window, those of frames seen before as they were, if kept."""
        known = 0 if memory.features is None else len(memory.features)
        features = check_output(self.encoder(mels[known:]), "audio encoder", LARGEST_FEATURE)
        if not self.keeps_features:
            return features, memory
        if memory.features is not None:
            features = torch.cat([self.tensor(memory.features), features])
        return features, replace(memory, features=features[self.grid.stride :].cpu().numpy())

    def _blend_lips(self, lips: Array, drawn: Array) -> Array:
        """What moves the mouth of a drawn face (n, 63) towards the one that the lip ensemble predicts, (n, 63)."""
        wanted = self.mean_expression + self.config.lip_scale * (lips - self.mean_expression)
        return self.config.lip_share * self.space.mouth_tokens(wanted - drawn)

    def _amplified(self, expression: Array, activity: Array, memory: FaceMeshMemory) -> tuple[Array, FaceMeshMemory]:
        """Expression tokens (n, 63) with the mouth at its full amplitude.

        The mouth is amplified about the stream's own running mean, which is moved to the usual one: else a voice for
        which the denoiser expects small movements would end in a mouth that never opens.
        """
        first, before = memory.spoken == MEAN_PRIOR, memory.expression_sum / memory.spoken
        total, spoken = memory.expression_sum + activity @ expression, memory.spoken + activity.sum()
        # From one window's mean to the next without a step; the first window is complete before any of it is output.
        share = np.linspace(1 if first else 0, 1, len(expression), dtype=np.float32)[:, None]
        mean = (1 - share) * before + share * (total / spoken)
        amplified = self.config.mouth_gain * (expression - mean) + self.mean_expression
        mouth = self.space.mouth_tokens(amplified - expression)
        return expression + mouth, replace(memory, expression_sum=total, spoken=spoken)

    def _pose(self, window: WindowInput, tokens: Array, memory: FaceMeshMemory) -> tuple[Array, FaceMeshMemory]:
        """Pose tokens (n, 7) of the new frames: of the process, or of the second motion drawn.

        That one is amplified about where it has been in the last seconds: windows that continue one another would let
        the head look aside for minutes.
        """
        if self.head and memory.head:
            levels = speech_levels(window.mels) - np.float32((window.mean_norm.total / window.mean_norm.weight).mean())
            unheard = WINDOW - self.grid.stride if window.new_frames.start else 0
            count = len(window.activity[window.new_frames])
            pose, at = head.step(self.head, levels[unheard:], count, memory.head)
            return (pose / self.space.pose_std).astype(np.float32), replace(memory, head=at)
        drawn, means = tokens[1, window.new_frames, :N_POSE], [memory.pose_mean]
        for each in drawn:
            means.append(means[-1] + (each - means[-1]) / POSE_MEMORY)
        gain = np.array(self.config.pose_gain, np.float32)
        return gain * (drawn - np.stack(means[1:])), replace(memory, pose_mean=means[-1])
