"""LivePortrait's renderer: the face crop of a photo, drawn with any motion of the space ``liveportrait``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kptalk.errors import MotionError
from kptalk.motion.liveportrait.space import LivePortraitSpace, crops_to_tensor, keypoints
from kptalk.networks.appearance import AppearanceExtractor
from kptalk.networks.spade import SpadeDecoder
from kptalk.networks.warping import WarpingNetwork
from kptalk.render.liveportrait.cpu.decoder import FastDecoder
from kptalk.render.liveportrait.cpu.warping import FastWarping
from kptalk.types import Face, Image, Motion, Portrait, SourceMotion

SIZE = 512  # pixels, side of a frame
Warp = Callable[[Tensor, Tensor, Tensor], Tensor]  # volume, driving and source keypoints to features: WarpingNetwork
Decode = Callable[[Tensor], Tensor]  # features to pictures: SpadeDecoder


@dataclass(frozen=True)
class PreparedCrop:
    """Everything about one face crop that its frames need.

    ``volume`` (1, 32, 16, 64, 64) is its appearance, ``keypoints`` (1, 21, 3) are x_s.
    """

    source: SourceMotion
    volume: Tensor
    keypoints: Tensor


class LivePortraitRenderer:
    """Draws motion on a face crop; holds no state of its own.

    Args:
        space: reads the crop's keypoints.
        appearance: reads its appearance.
        warp: the warping network, or what ``fast_networks`` makes of it.
        decode: the decoder, likewise.
        at_once: frames in one batch; on a CPU more than one gains nothing.
        side_by_side: batches drawn at the same time, each in a thread of its own.
    """

    def __init__(
        self,
        space: LivePortraitSpace,
        appearance: AppearanceExtractor,
        warp: Warp,
        decode: Decode,
        at_once: int = 1,
        side_by_side: int = 1,
    ) -> None:
        self.space, self.appearance, self.warp, self.decode = space, appearance.eval(), warp, decode
        self.at_once, self.side_by_side = at_once, side_by_side
        self.device = next(appearance.parameters()).device

    @torch.inference_mode()
    def prepare(self, crop: Image) -> PreparedCrop:
        """Read a face crop, (256, 256, 3) uint8 RGB, once.

        Raises:
            ImageError: the crop has another shape.
        """
        source = self.space.extract(Portrait(crop, Face(np.zeros((0, 3), np.float32))))
        volume = self.appearance(crops_to_tensor(crop[None], self.device))
        own = torch.from_numpy(keypoints(source.canonical, source.motion)).to(self.device)
        return PreparedCrop(source, volume, own)

    def draw(self, state: PreparedCrop, motion: Motion) -> Image:
        """Frames (T, 512, 512, 3) uint8 RGB.

        Raises:
            MotionError: the motion belongs to another motion space.
        """
        if motion.space != self.space.id:
            raise MotionError(
                f"motion of the space {motion.space!r} cannot be drawn by LivePortrait; expected {self.space.id!r}"
            )
        driving = torch.from_numpy(keypoints(state.source.canonical, motion))
        frames = np.empty((len(motion), SIZE, SIZE, 3), np.uint8)

        def draw_batch(first: int) -> None:
            batch = slice(first, first + self.at_once)
            frames[batch] = self._pictures(state, driving[batch].to(self.device))

        batches = range(0, len(motion), self.at_once)
        if self.side_by_side == 1:  # in this thread, to which compiled CUDA graphs are bound
            for first in batches:
                draw_batch(first)
        else:
            with ThreadPoolExecutor(self.side_by_side) as threads:
                list(threads.map(draw_batch, batches))
        return frames

    @torch.inference_mode()  # here, for every thread has its own
    def _pictures(self, state: PreparedCrop, driving: Tensor) -> Image:
        volume, own = (t.expand(len(driving), *t.shape[1:]) for t in (state.volume, state.keypoints))
        return to_frames(self.decode(self.warp(volume, driving, own)))


def fast_networks(warping: WarpingNetwork, decoder: SpadeDecoder) -> tuple[Warp, Decode]:
    """The same two networks, as fast as their device allows.

    On a CPU in fewer operations, and in bfloat16 where the processor computes with it; the originals may be dropped. On
    CUDA under autocast: the decoder in bfloat16, warping in float16, which the reference uses too; bfloat16 there costs
    14 dB in the frames (float16 emulated on a CPU; neither was measured on CUDA).
    """
    device = next(decoder.parameters()).device
    if device.type == "cpu":
        dtype = torch.bfloat16 if native_bfloat16() else torch.float32
        return FastWarping(warping, dtype), FastDecoder(decoder, dtype)
    if device.type == "cuda":
        decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return torch.autocast("cuda", torch.float16)(warping), torch.autocast("cuda", torch.bfloat16)(decoder)
    return warping, decoder


def native_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; False with a torch that cannot tell (before 2.9)."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def to_frames(pictures: Tensor) -> Image:
    """(B, 3, H, W) RGB from 0 to 1 -> (B, H, W, 3) uint8, truncated as the reference does."""
    frames: Image = (pictures.float().clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return frames
