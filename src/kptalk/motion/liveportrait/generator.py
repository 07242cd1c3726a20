"""Speech to motion as KDTalker's own program does it, as a stream; for the official weights.

Windows of 64 frames follow one another without overlap. All that a window knows of the one before is its last frame,
not smoothed; the first window continues from the portrait. Then each coordinate is smoothed (``kalman``), and the
motion is taken over as it is (absolute), or as change since its first frame (relative).

The reference fills the last window with the beginning of the speech, which then leaks into the end of the video; here
it is filled with silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from kptalk.audio import mean_norm as level
from kptalk.audio.mel import N_MELS, SILENCE
from kptalk.audio.windows import MEL_WINDOW, Windows
from kptalk.motion.diffusion import sample
from kptalk.motion.facemesh.generator import WINDOW, speech_activity
from kptalk.motion.filters import kalman
from kptalk.motion.liveportrait.space import N_TOKEN, LivePortraitSpace, absolute, relative
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser
from kptalk.types import Array, Motion, SourceMotion

STEPS = 50  # DDIM steps of the paper


@dataclass(frozen=True)
class KDTalkerState:
    """Where a stream stands.

    ``windows`` (n, 80, 16) are mel windows not yet used; ``previous`` (70,) is the last frame's token; ``level`` has
    heard all sound up to there. ``smoothing`` and ``activity`` (k,) hold the frames that wait for their look-ahead;
    ``anchor`` is the first frame of the driving motion, None before there is one.
    """

    source: SourceMotion
    windows: Windows
    previous: Array
    level: level.MeanNormState
    smoothing: kalman.MotionState
    activity: Array
    anchor: Motion | None
    rng: np.random.Generator


class KDTalkerGenerator:
    """Audio encoder and denoiser together: mel windows at 25 fps to motion at 25 fps.

    Args:
        space: with statistics.
        encoder: Wav2Lip's.
        denoiser: KDTalker's.
        prior: (80,) mean mel level of speech, against which silence is told.
        steps: of the denoising.
        relative_motion: whether the motion counts from its first frame, added to the portrait's own.
    """

    def __init__(
        self,
        space: LivePortraitSpace,
        encoder: AudioEncoder,
        denoiser: Denoiser,
        prior: Array,
        steps: int = STEPS,
        relative_motion: bool = False,
    ) -> None:
        self.space, self.encoder, self.denoiser = space, encoder.eval(), denoiser.eval()
        self.prior, self.steps, self.relative_motion = prior, steps, relative_motion
        self.device = next(denoiser.parameters()).device

    def with_steps(self, steps: int | None) -> KDTalkerGenerator:
        """The same with another number of denoising steps; None keeps it."""
        steps = steps or self.steps
        return KDTalkerGenerator(self.space, self.encoder, self.denoiser, self.prior, steps, self.relative_motion)

    def start(self, source: SourceMotion, seed: int) -> KDTalkerState:
        """State of a stream that has heard nothing; it continues from the portrait's own motion."""
        return KDTalkerState(
            source=source,
            windows=np.zeros((0, N_MELS, MEL_WINDOW), np.float32),
            previous=self.space.tokens(source.motion)[0],
            level=level.start(self.prior),
            smoothing=kalman.MotionState(),
            activity=np.zeros(0, np.float32),
            anchor=None,
            rng=np.random.default_rng(seed),
        )

    def step(self, windows: Windows, state: KDTalkerState) -> tuple[Motion, Array, KDTalkerState]:
        """Hear (n, 80, 16) mel windows of the next n frames.

        Returns:
            the motion of the frames that became known, how much speech there is in each, (k,) float32 from 0 to 1, and
            the new state.
        """
        state = replace(state, windows=np.concatenate([state.windows, windows]))
        motion, activity = self.space.motion(np.zeros((0, N_TOKEN), np.float32)), [state.activity]
        while len(state.windows) >= WINDOW:
            tokens, heard, state = self.draw_window(state)
            motion = Motion.concatenate([motion, self.space.motion(tokens)])
            activity.append(heard)
        smooth, smoothing = kalman.step_motion(motion, state.smoothing)
        state = replace(state, smoothing=smoothing, anchor=_first(smooth, state.anchor))
        known = np.concatenate(activity)
        state = replace(state, activity=known[len(smooth) :])
        return self._placed(smooth, state), known[: len(smooth)], state

    def finish(self, state: KDTalkerState) -> tuple[Motion, Array]:
        """Motion and speech of the frames that remain."""
        remaining = len(state.windows)
        waiting, activity = self.space.motion(np.zeros((0, N_TOKEN), np.float32)), state.activity
        if remaining:
            silence = np.full((WINDOW - remaining, N_MELS, MEL_WINDOW), SILENCE, np.float32)
            padded = replace(state, windows=np.concatenate([state.windows, silence]))
            tokens, heard, _ = self.draw_window(padded)
            waiting = self.space.motion(tokens[:remaining])
            activity = np.concatenate([activity, heard[:remaining]])
        smooth, smoothing = kalman.step_motion(waiting, state.smoothing)
        smooth = Motion.concatenate([smooth, kalman.finish_motion(smoothing)])
        return self._placed(smooth, replace(state, anchor=_first(smooth, state.anchor))), activity

    def draw_window(self, state: KDTalkerState) -> tuple[Array, Array, KDTalkerState]:
        """Draw a window of the first 64 mel windows held: tokens (64, 70), speech (64,), and the state after it."""
        windows = state.windows[:WINDOW]
        heard = level.hear(windows, state.level)
        noise = state.rng.standard_normal((1, WINDOW, N_TOKEN), np.float32)
        references = np.stack([self.space.canonical_token(state.source.canonical), state.previous])
        with torch.inference_mode():
            features = self.encoder(self._tensor(windows))[None]
            drawn = sample(self.denoiser, self._tensor(references)[None], features, self._tensor(noise), self.steps)
        tokens = drawn[0].cpu().numpy()
        state = replace(state, windows=state.windows[WINDOW:], previous=tokens[-1], level=heard)
        return tokens, speech_activity(windows, heard), state

    def _placed(self, motion: Motion, state: KDTalkerState) -> Motion:
        own = state.source.motion
        if self.relative_motion and state.anchor is not None:
            return relative(motion, state.anchor, own)
        return absolute(motion, own)

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)


def _first(motion: Motion, anchor: Motion | None) -> Motion | None:
    return motion[:1] if anchor is None and len(motion) else anchor
