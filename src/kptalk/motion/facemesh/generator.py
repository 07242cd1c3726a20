"""Speech to motion: windows of 64 frames, one after the other, as a stream (KDTalker, section 3.4).

Where the reference joins windows at one frame and pads the last one with the beginning of the clip, these windows
overlap. The first frames of a window are held to the last ones of the window before. The last frames of a window, which
have not heard what comes next, are drawn again by the next window and blended into it. After the end there is silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from kptalk.audio import mean_norm as level
from kptalk.audio.mel import SILENCE
from kptalk.audio.windows import Windows
from kptalk.motion.diffusion import Known, sample
from kptalk.motion.facemesh.space import N_TOKEN, FaceMeshSource, FaceMeshSpace
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser
from kptalk.networks.lip_ensemble import LipEnsemble
from kptalk.types import Array, Motion

FPS = Fraction(25)  # the rate the denoiser was trained at; motion is resampled to the video's rate afterwards
WINDOW = 64  # frames in a window
OVERLAP = 14  # frames of a window that repeat the window before
LOOKAHEAD = 6  # frames at a window's end that are drawn again by the next window, and blended into it
POSE = 7  # tokens; the other 63 are the expression
POSE_MEMORY = 250.0  # frames over which the head comes back to where it is in the photo
MEAN_PRIOR = 12.0  # frames of speech that the mean expression counts for in a stream's own mean


@dataclass(frozen=True)
class SamplerConfig:
    """Numbers of the sampling that go with one set of weights.

    Two motions are drawn from the same sound: the face is taken from one, the head's pose from the other.

    Attributes:
        steps: DDIM steps.
        expression_noise: spread of the initial noise of the motion that gives the face. Below 1 it draws nearer to the
            mean of what lips may do with this sound, which is what lips must do to look right.
        pose_noise: the same for the motion that gives the head's pose, which is free.
        lip_share: how much of the mouth is the lip net's, where there is one; the rest is the denoiser's.
        lip_scale: factor on the lip net's mouth about the mean face that brings it to the denoiser's amplitude.
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
    pose_gain: tuple[float, ...] = (1.0,) * POSE
    mean_expression: tuple[float, ...] = (0.0,) * (N_TOKEN - POSE)


@dataclass(frozen=True)
class FaceMeshGeneratorState:
    """Where a stream stands.

    ``windows`` (n, 80, 16) are the mel windows from the first frame of the next motion window on; the level has
    heard ``heard`` of them. ``tokens`` (2, 1 + OVERLAP + LOOKAHEAD, 70) are the last ones of the two motions (before
    the first window (2, 1, 70)); ``noise`` (OVERLAP + LOOKAHEAD, 70) is the noise shared with the next window;
    ``expression_sum`` (63,) over ``spoken`` frames is the mean face so far; ``pose_mean`` (7,) is where the head was
    lately.
    """

    source: FaceMeshSource
    windows: Windows
    heard: int
    level: level.MeanNormState
    tokens: Array
    noise: Array
    expression_sum: Array
    spoken: float
    pose_mean: Array
    rng: np.random.Generator


class FaceMeshGenerator:
    """Audio encoder and denoiser together: mel windows at 25 fps to motion at 25 fps.

    Where the weights have a lip net, the mouth is a mean of what it and the denoiser say.
    """

    def __init__(
        self,
        space: FaceMeshSpace,
        encoder: AudioEncoder,
        denoiser: Denoiser,
        prior: Array,
        config: SamplerConfig,
        lips: LipEnsemble | None = None,
    ) -> None:
        self.space, self.encoder, self.denoiser = space, encoder.eval(), denoiser.eval()
        self.prior, self.config, self.lips = prior, config, lips
        self.device = next(denoiser.parameters()).device

    def with_steps(self, steps: int | None) -> FaceMeshGenerator:
        """The same with another number of denoising steps; None keeps what suits the weights."""
        config = self.config if steps is None else replace(self.config, steps=steps)
        return FaceMeshGenerator(self.space, self.encoder, self.denoiser, self.prior, config, self.lips)

    def start(self, source: FaceMeshSource, seed: int) -> FaceMeshGeneratorState:
        """State of a stream that has heard nothing; the head is as in the photo."""
        mean = np.array(self.config.mean_expression, np.float32)
        # Not the photo's own expression: from pressed lips or a broad smile the denoiser would conclude how this person
        # speaks. Control eases from the photo's face into the motion.
        own = np.concatenate([np.zeros(POSE, np.float32), mean])
        return FaceMeshGeneratorState(
            source=source,
            windows=np.zeros((0, 80, 16), np.float32),
            heard=0,
            level=level.start(self.prior),
            tokens=np.tile(own, (2, 1, 1)),
            noise=np.zeros((0, N_TOKEN), np.float32),
            expression_sum=mean * MEAN_PRIOR,
            spoken=MEAN_PRIOR,
            pose_mean=np.zeros(POSE, np.float32),
            rng=np.random.default_rng(seed),
        )

    def step(self, windows: Windows, state: FaceMeshGeneratorState) -> tuple[Motion, Array, FaceMeshGeneratorState]:
        """Hear (n, 80, 16) mel windows of the next n frames.

        Returns:
            the motion of the frames that became known (between 0 and n + 64 of them), how much speech there is in each,
            (k,) float32 from 0 to 1, and the new state.
        """
        state = replace(state, windows=np.concatenate([state.windows, windows]))
        parts: list[tuple[Array, Array]] = []
        first, keep = WINDOW - LOOKAHEAD - OVERLAP, WINDOW - LOOKAHEAD
        while len(state.windows) >= WINDOW:
            held = 0 if state.heard == 0 else OVERLAP
            tokens, activity, noise, heard = self._window(state)
            given, state = self._amplify(tokens[:, held:keep], activity[held:keep], state)
            parts.append((given, activity[held:keep]))
            state = replace(
                state,
                windows=state.windows[first:],
                heard=WINDOW - first,
                level=heard,
                tokens=tokens[:, first - 1 :],
                noise=noise[first:],
            )
        return (*self._join(parts, state), state)

    def finish(self, state: FaceMeshGeneratorState) -> tuple[Motion, Array]:
        """Motion and speech of the frames that remain; silence is heard after the end."""
        held, remaining = 0 if state.heard == 0 else OVERLAP, len(state.windows)
        if remaining <= held:
            return self._join([], state)
        silence = np.full((WINDOW - remaining, *state.windows.shape[1:]), SILENCE, np.float32)
        padded = replace(state, windows=np.concatenate([state.windows, silence]))
        tokens, activity, _, _ = self._window(padded)
        given, state = self._amplify(tokens[:, held:remaining], activity[held:remaining], state)
        return self._join([(given, activity[held:remaining])], state)

    def _window(self, state: FaceMeshGeneratorState) -> tuple[Array, Array, Array, level.MeanNormState]:
        """Draw one window twice: tokens (2, 64, 70), speech (64,), the noise used, and the level heard by then."""
        held = 0 if state.heard == 0 else OVERLAP
        windows = state.windows[:WINDOW]
        heard = level.hear(windows[state.heard :], state.level)
        fresh = state.rng.standard_normal((WINDOW - len(state.noise), N_TOKEN), np.float32)
        noise = np.concatenate([state.noise, fresh])
        spread = np.array([self.config.expression_noise, self.config.pose_noise], np.float32)
        canonical = self.space.canonical_token(state.source.canonical)
        references = np.stack([canonical[None].repeat(2, 0), state.tokens[:, 0]], 1)
        known = None
        if held:
            frames = np.zeros((2, WINDOW, N_TOKEN), np.float32)
            frames[:, :held] = state.tokens[:, 1 : 1 + held]
            known = Known(self._tensor(frames), torch.arange(WINDOW, device=self.device) < held)
        with torch.inference_mode():
            centred = self._tensor(level.centre(windows, heard))
            features = self.encoder(centred)
            out = sample(
                self.denoiser,
                self._tensor(references),
                features.expand(2, -1, -1),
                self._tensor(noise * spread[:, None, None]),
                self.config.steps,
                known,
            )
            read = None if self.lips is None else self.lips(centred[None])[0]
        tokens = out.cpu().numpy()
        if read is not None:
            tokens[0, held:, POSE:] += self._blend_lips(read[held:].cpu().numpy(), tokens[0, held:, POSE:])
        if held:  # from what the last window drew beyond its own frames to what this one draws
            share = (np.arange(1, LOOKAHEAD + 1, dtype=np.float32) / (LOOKAHEAD + 1))[:, None]
            seam = slice(held, held + LOOKAHEAD)
            tokens[:, seam] = share * tokens[:, seam] + (1 - share) * state.tokens[:, 1 + held :]
        return tokens, speech_activity(windows, heard), noise, heard

    def _blend_lips(self, read: Array, drawn: Array) -> Array:
        """What moves the mouth of a drawn face (n, 63) towards the one that the lip net reads, (n, 63)."""
        usual = np.array(self.config.mean_expression, np.float32)
        wanted = usual + self.config.lip_scale * (read - usual)
        return self.config.lip_share * self.space.mouth_tokens(wanted - drawn)

    def _amplify(
        self, drawn: Array, activity: Array, state: FaceMeshGeneratorState
    ) -> tuple[Array, FaceMeshGeneratorState]:
        """Face of the first and pose of the second motion (2, n, 70), at their full amplitude: (n, 70), and the state.

        The mouth is amplified about the stream's own running mean, which is moved to the usual one: else a voice for
        which the denoiser expects small movements would end in a mouth that never opens. The head is amplified about
        where it has been in the last seconds: windows that continue one another would let it look aside for minutes.
        """
        face, head = drawn
        expression, usual = face[:, POSE:], np.array(self.config.mean_expression, np.float32)
        first, before = state.spoken == MEAN_PRIOR, state.expression_sum / state.spoken
        state = replace(
            state, expression_sum=state.expression_sum + activity @ expression, spoken=state.spoken + activity.sum()
        )
        after = state.expression_sum / state.spoken
        # From one window's mean to the next without a step; the first window is heard before any of it is given out.
        share = np.linspace(1 if first else 0, 1, len(expression), dtype=np.float32)[:, None]
        mean = (1 - share) * before + share * after
        amplified = self.config.mouth_gain * (expression - mean) + usual
        mouth = self.space.mouth_tokens(amplified - expression)
        means = [state.pose_mean]
        for pose in head[:, :POSE]:
            means.append(means[-1] + (pose - means[-1]) / POSE_MEMORY)
        pose = np.array(self.config.pose_gain, np.float32) * (head[:, :POSE] - np.stack(means[1:]))
        return np.concatenate([pose, expression + mouth], 1), replace(state, pose_mean=means[-1])

    def _join(self, parts: list[tuple[Array, Array]], state: FaceMeshGeneratorState) -> tuple[Motion, Array]:
        tokens = np.concatenate([np.zeros((0, N_TOKEN), np.float32), *(part[0] for part in parts)])
        activity = np.concatenate([np.zeros(0, np.float32), *(part[1] for part in parts)])
        return self.space.motion(tokens, state.source.motion), activity

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)


def speech_activity(windows: Windows, state: level.MeanNormState) -> Array:
    """How much speech each frame holds, (n, 80, 16) to (n,) from 0 (silence) to 1.

    A frame counts by its loudness against the speech so far, 25 dB below it is silence; the lips move from three
    frames before a sound to two after it.
    """
    loudness = windows[:, :, 5:11].mean((1, 2))
    usual = float((state.total / state.weight).mean())
    active = np.clip((loudness - max(usual - 2.0, SILENCE + 0.4)) / 0.8, 0, 1)
    padded = np.pad(active, (2, 3), mode="edge")
    widest = np.lib.stride_tricks.sliding_window_view(padded, 6).max(-1)
    smooth = np.convolve(np.pad(widest, 2, mode="edge"), np.array([1, 2, 3, 2, 1]) / 9, "valid")
    return smooth.astype(np.float32)
