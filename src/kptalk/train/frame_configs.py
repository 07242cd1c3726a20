"""The configs of the recipes ``vae`` and ``l2v``: how large the networks are, and how they are trained.

What they cost is in docs/l2v.md.
"""

from dataclasses import dataclass, replace

from kptalk.networks.frame_unet import FrameUNetConfig
from kptalk.render.latent.latents import AutoencoderConfig, LatentUNetConfig
from kptalk.train.config import RecipeConfig
from kptalk.train.loop import LoopConfig

SEQUENCE_EVERY = 10.0, 100.0  # frames of a clip per sequence: of half an hour of video, and of many hours


@dataclass(frozen=True)
class VaeConfig(RecipeConfig):
    """An autoencoder of pictures, which a batch counts.

    Attributes:
        network: its architecture.
        critic_from: steps before the critic joins.
        every: frames of a clip per sequence, on average.
    """

    network: AutoencoderConfig
    critic_from: int
    every: float = SEQUENCE_EVERY[0]


@dataclass(frozen=True)
class L2VConfig(RecipeConfig):
    """A network that draws frames, of pixels or of latents, which begin with ``vae``.

    Attributes:
        network: its architecture.
        critic_from: steps before the critic joins; there is none in latents.
        every: frames of a clip per sequence, on average.
        draw_steps, guidance: of the sampler, stated in the weights' file.
    """

    network: FrameUNetConfig | LatentUNetConfig
    critic_from: int = 0
    every: float = SEQUENCE_EVERY[0]
    draw_steps: int = 1
    guidance: float = 1.0


_SMOKE = LoopConfig(steps=20, batch=2, learning_rate=1e-3, warmup=5, score_every=10)
VAE = {
    "smoke": VaeConfig(
        replace(_SMOKE, batch=4), AutoencoderConfig(size=32, widths=(16, 16), blocks=1, groups=8), critic_from=5
    ),
    "paper": VaeConfig(
        LoopConfig(steps=100_000, batch=4, learning_rate=1e-4, warmup=1000, ema=0.999, score_every=1000),
        AutoencoderConfig(),
        critic_from=50_000,
        every=SEQUENCE_EVERY[1],
    ),
}
L2V = {
    "smoke": L2VConfig(_SMOKE, FrameUNetConfig(size=32, widths=(8, 16)), critic_from=5),
    "latent-smoke": L2VConfig(
        _SMOKE, LatentUNetConfig(size=32, factor=2, widths=(16, 32), blocks=1, head=8, tokens=16, groups=8)
    ),
    "embedded": L2VConfig(
        LoopConfig(
            steps=7500, batch=4, learning_rate=4e-4, weight_decay=0.01, ema=0.998, score_every=250, tolerance=1.0
        ),
        FrameUNetConfig(),
        critic_from=3000,
    ),
    "paper": L2VConfig(
        LoopConfig(
            steps=400_000, batch=1, learning_rate=5e-5, warmup=1000, ema=0.9999, score_every=4000, tolerance=1.0
        ),
        LatentUNetConfig(),
        every=SEQUENCE_EVERY[1],
        draw_steps=20,
        guidance=1.5,
    ),
}
