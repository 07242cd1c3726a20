"""What draws the faces: the interface of a denoiser, one that works on pixels, and one that works on latents."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from kptalk.networks.frame_unet import FrameUNet
from kptalk.render.latent.conditions import conditions, without_mouth
from kptalk.render.latent.latents import FrameAutoencoder, LatentUNet
from kptalk.render.latent.sampler import ddim, sample_frames


class Window(NamedTuple):
    """Squares of neighbouring frames, and what is known of them; pictures from -1 to 1, landmark maps from 0 to 1."""

    warped: Tensor  # (B, F, 3, S, S) the warped photo
    maps: Tensor  # (B, F, 5, S, S) landmark maps
    reference: Tensor  # (B, 3, S, S) the photo's own square
    reference_maps: Tensor  # (B, 5, S, S)


class FrameDenoiser(Protocol):
    """Draws faces, a window of frames at a time; holds no state of its own."""

    @property
    def size(self) -> int:
        """Side of the square, in its own pixels."""

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the noise that a frame begins with."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def draw(self, window: Window, noise: Tensor, steps: int, guidance: float) -> Tensor:
        """Frames (B, F, 3, S, S) float32, -1 to 1.

        Args:
            window: what is to be drawn.
            noise: standard normal, broadcast to (B, F, *noise_shape): the same for all frames, or they would boil.
            steps: denoising steps, 1 to 1000.
            guidance: weight of what the landmarks change in the prediction; 1 is the plain prediction.
        """


class PixelDenoiser:
    """Denoises the pixels themselves, as a change of the warped photo."""

    def __init__(self, network: FrameUNet) -> None:
        self.network, self.size = network, network.config.size
        self.noise_shape = network.config.channels, self.size, self.size
        self.device = next(network.parameters()).device

    def draw(self, window: Window, noise: Tensor, steps: int, guidance: float) -> Tensor:
        photo = window.reference[:, None].expand_as(window.warped)
        base = without_mouth(window.warped if self.network.config.warp else photo, window.maps[:, :, :1])
        condition = conditions(base, window.maps, window.reference, window.reference_maps)
        return sample_frames(self.network, condition, base, noise, steps, guidance)


class LatentDenoiser:
    """Denoises the latents of an autoencoder, beginning with those of the warped photo under noise."""

    def __init__(self, network: LatentUNet, autoencoder: FrameAutoencoder) -> None:
        self.network, self.autoencoder, self.size = network, autoencoder, network.config.size
        side = self.size // network.config.factor
        self.noise_shape = network.config.latents, side, side
        self.device = next(network.parameters()).device

    def draw(self, window: Window, noise: Tensor, steps: int, guidance: float) -> Tensor:
        reference = self.autoencoder.encode(window.reference)
        if self.network.config.warp:
            base = torch.stack([self.autoencoder.encode(frame) for frame in window.warped.unbind(1)], 1)
        else:
            base = reference[:, None].expand(-1, window.warped.shape[1], -1, -1, -1)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            out = self.network(x, t, base, window.maps, reference, window.reference_maps)
            if guidance != 1:
                nothing = torch.zeros_like(window.maps)
                without = self.network(x, t, base, nothing, reference, window.reference_maps)
                out = without + guidance * (out - without)
            return self.network.clean(x, t, out)

        latents = ddim(predict, base, noise, steps)
        frames = [self.autoencoder.decode(frame) for frame in latents.unbind(1)]  # one at a time, to hold memory down
        return torch.stack(frames, 1).clamp(-1, 1)
