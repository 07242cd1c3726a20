"""Speech to motion as KDTalker's own program does it; for the official weights.

Windows of 64 frames follow one another without overlap. All that a window knows of the one before is its last frame,
not smoothed; the first window continues from the portrait. The motion is absolute: it is taken over as it is, at the
portrait's own size.

The reference fills the last window with the beginning of the speech, which then leaks into the end of the video; here
it is filled with silence.
"""

from __future__ import annotations

import numpy as np
import torch

from kptalk.motion.diffusion import sample
from kptalk.motion.generator import LARGEST_FEATURE, WINDOW, WindowGenerator, WindowGrid, WindowInput, check_output
from kptalk.motion.liveportrait.space import N_TOKEN, LivePortraitSource, LivePortraitSpace
from kptalk.networks.audio_encoder import AudioEncoder
from kptalk.networks.denoiser import Denoiser
from kptalk.types import Array, Motion

STEPS = 50  # DDIM steps of the paper


class KDTalkerGenerator(WindowGenerator[LivePortraitSource, Array]):
    """Wav2Lip's audio encoder and KDTalker's denoiser; remembers the last frame's token, (70,)."""

    grid = WindowGrid(first=WINDOW, stride=WINDOW)
    draws_blinks = True

    def __init__(
        self,
        space: LivePortraitSpace,
        encoder: AudioEncoder,
        denoiser: Denoiser,
        speech_mel_mean: Array,
        steps: int = STEPS,
    ) -> None:
        """``space`` has KDTalker's statistics."""
        super().__init__(speech_mel_mean, next(denoiser.parameters()).device)
        self.space, self.encoder, self.denoiser, self.steps = space, encoder.eval(), denoiser.eval(), steps

    def with_steps(self, steps: int | None) -> KDTalkerGenerator:
        return KDTalkerGenerator(self.space, self.encoder, self.denoiser, self.speech_mel_mean, steps or self.steps)

    def first_memory(self, source: LivePortraitSource) -> Array:
        """See ``WindowGenerator``: the portrait's own motion as a token."""
        token: Array = self.space.tokens(source.motion)[0]
        return token

    def draw(self, window: WindowInput, source: LivePortraitSource, memory: Array) -> tuple[Motion, Array]:
        noise = window.rng.standard_normal((1, WINDOW, N_TOKEN), np.float32)
        references = np.stack([self.space.canonical_token(source.canonical), memory])[None]
        tokens = self.sample_window(window.mels, references, noise)
        return self.space.absolute(self.space.motion(tokens[window.new_frames]), source.motion), tokens[-1]

    def sample_window(self, mels: Array, references: Array, noise: Array) -> Array:
        """Tokens (64, 70) from mel windows (64, 80, 16), reference tokens (1, 2, 70) and noise (1, 64, 70)."""
        with torch.inference_mode():
            features = check_output(self.encoder(self.tensor(mels)), "audio encoder", LARGEST_FEATURE)[None]
            drawn = sample(self.denoiser, self.tensor(references), features, self.tensor(noise), self.steps)
        tokens: Array = check_output(drawn[0], "denoiser").cpu().numpy()
        return tokens
