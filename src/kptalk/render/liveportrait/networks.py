"""Which networks draw: the faithful ones, or the same rewritten for speed, by device and precision."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kptalk.networks.spade import SpadeDecoder
from kptalk.networks.warping import WarpingNetwork
from kptalk.render.liveportrait.cpu.decoder import FastDecoder
from kptalk.render.liveportrait.cpu.warping import FastWarping
from kptalk.render.renderer import Precision

Warp = Callable[[Tensor, Tensor, Tensor], Tensor]  # volume, driving and source keypoints to features: WarpingNetwork
Decode = Callable[[Tensor], Tensor]  # features to pictures: SpadeDecoder


def fast_networks(warping: WarpingNetwork, decoder: SpadeDecoder, precision: Precision = "auto") -> tuple[Warp, Decode]:
    """The same two networks, as fast as their device and the wanted precision allow.

    On a CPU in fewer operations, and in bfloat16 where the processor computes with it; the originals may be dropped. On
    CUDA under autocast: the decoder in bfloat16, warping in float16, which the reference uses too; bfloat16 there costs
    14 dB in the frames (float16 emulated on a CPU; neither was measured on CUDA).

    ``float32`` keeps all arithmetic in float32, whatever the processor has: frames are then those of the reference but
    for rounding, while bfloat16 leaves about 39 dB (up to 29 levels of 255). On CUDA whether float32 convolutions may
    use TF32 stays torch's setting (``torch.backends.cudnn.allow_tf32``).
    """
    device = next(decoder.parameters()).device
    if device.type == "cpu":
        dtype = torch.bfloat16 if precision == "auto" and native_bfloat16() else torch.float32
        return FastWarping(warping, dtype), FastDecoder(decoder, dtype)
    if device.type == "cuda" and precision == "auto":
        decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return torch.autocast("cuda", torch.float16)(warping), torch.autocast("cuda", torch.bfloat16)(decoder)
    return warping, decoder


def native_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; False with a torch that cannot tell (before 2.9)."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
