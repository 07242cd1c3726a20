"""LivePortrait's networks at 512 x 512, stage by stage: the faithful float32 path beside the fast one, and their PSNR.

python benchmarks/liveportrait.py [--threads N] [--frames N] [--device cpu|cuda] [--batch N] [--compile]

With the official weights if they were converted (`kptalk weights pull official`), else with random ones of about the
size that trained ones have: the time is the same, the PSNR then says what rounding does to an arbitrary network.
"CPU" is the processor time of all threads: on a busy machine it says more than the clock on the wall.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from statistics import median

import numpy as np
import torch
from skimage import data
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kptalk.motion.convnext import MotionExtractor, MotionExtractorConfig
from kptalk.motion.liveportrait import crops_to_tensor, keypoints
from kptalk.render.liveportrait.appearance import AppearanceExtractor, AppearanceExtractorConfig
from kptalk.render.liveportrait.decoder import SpadeDecoder, SpadeDecoderConfig
from kptalk.render.liveportrait.renderer import fast_networks
from kptalk.render.liveportrait.warping import WarpingNetwork, WarpingNetworkConfig
from kptalk.types import Motion
from kptalk.weights.registry import converted_path, entry_of
from kptalk.weights.store import load_model

NETWORKS = {
    "appearance_extractor": (AppearanceExtractor, AppearanceExtractorConfig),
    "motion_extractor": (MotionExtractor, MotionExtractorConfig),
    "warping": (WarpingNetwork, WarpingNetworkConfig),
    "decoder": (SpadeDecoder, SpadeDecoderConfig),
}
GAINS = {"mask": 6.0, "occlusion": 2.0, "mlp_gamma": 0.5, "mlp_beta": 0.5, "conv_img": 0.5, "conv2": 0.5, "fc": 1.0}


def load(name: str) -> tuple[nn.Module, bool]:
    """A network, and whether its weights are the official ones."""
    model_class, config_class = NETWORKS[name]
    path = converted_path(entry_of(name))
    if path.is_file():
        return load_model(path, model_class, config_class), True
    torch.manual_seed(0)
    network = model_class(config_class()).eval()
    for key, value in network.state_dict().items():
        if key.endswith("weight") and value.dim() > 1:
            gain = next((gain for part, gain in GAINS.items() if part in key.split(".")), 2**0.5)
            value.normal_(0, gain / value[0].numel() ** 0.5)
            if name == "decoder" and key.split(".")[-2] in ("conv_0", "conv_1", "conv_s"):
                value /= largest_singular_value(value.flatten(1))  # as spectral normalisation leaves it
        elif key.endswith("bias"):
            value.normal_(0, 0.1)
    return network, False


def largest_singular_value(matrix: Tensor) -> float:
    vector = torch.randn(matrix.shape[1])
    for _ in range(5):
        vector = matrix.T @ (matrix @ (vector / vector.norm()))
    return float((matrix @ (vector / vector.norm())).norm())


def keypoint_frames(count: int) -> Tensor:
    """Keypoints (1 + count, 21, 3) of a head that turns and moves as in a talk show; the first are the source's."""
    rng = np.random.default_rng(0)
    canonical = rng.normal(0, 0.22, (21, 3)).astype(np.float32)
    motion = Motion(
        scale=np.full((1 + count, 1), 1.7),
        rotation=rng.normal(0, 1, (1 + count, 3)) * (15, 7, 7),
        translation=rng.normal(0, 1, (1 + count, 3)) * (0.1, 0.06, 0),
        expression=rng.normal(0, 0.015, (1 + count, 21, 3)),
        fps=Fraction(25),
        space="liveportrait",
    )
    return torch.from_numpy(keypoints(canonical, motion))


class Clock:
    """Seconds on the wall and of the processor, per frame, by stage."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, {}

    def __call__(self, stage: str, work: Callable[[], Tensor]) -> Tensor:
        wall, cpu = time.perf_counter(), time.process_time()
        out = work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        spent = time.perf_counter() - wall, time.process_time() - cpu
        self.seconds.setdefault(stage, []).append(tuple(part / len(out) for part in spent))
        return out

    def of(self, stage: str) -> tuple[float, float]:
        """Medians, without the first."""
        wall, cpu = zip(*self.seconds[stage][1:], strict=True)
        return median(wall), median(cpu)


def draw(warp, decode, volume: Tensor, points: Tensor, batch: int, clock: Clock) -> Iterator[Tensor]:
    """Pictures of all frames, the first batch once more before."""
    pieces = list(points[1:].split(batch))
    for i, driving in enumerate([pieces[0], *pieces]):
        many = volume.expand(len(driving), *volume.shape[1:]), driving, points[:1].expand_as(driving)
        features = clock("warping", lambda many=many: warp(*many))
        pictures = clock("decoder", lambda features=features: decode(features))
        if i:
            yield pictures.float().clamp(0, 1).cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="frames at once on the fast path")
    parser.add_argument("--compile", action="store_true", help="torch.compile the fast path (CUDA graphs)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    loaded = {name: load(name) for name in NETWORKS}
    official = all(there for _, there in loaded.values())
    networks = {name: network.to(device) for name, (network, _) in loaded.items()}
    face = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    picture, points = crops_to_tensor(face[None], device), keypoint_frames(arguments.frames).to(device)
    with torch.inference_mode():
        once = Clock(device)
        for _ in range(3):
            volume = once("appearance", lambda: networks["appearance_extractor"](picture))
            once("motion extractor", lambda: networks["motion_extractor"](picture).canonical)
        warping, decoder = networks["warping"], networks["decoder"]
        flops = {}
        for stage, work in (
            ("warping", lambda: warping(volume, points[:1], points[:1])),
            ("decoder", lambda: decoder(torch.zeros(1, 256, 64, 64, device=device))),
        ):
            with FlopCounterMode(display=False) as counter:
                work()
            flops[stage] = counter.get_total_flops()
        faithful, fast = Clock(device), Clock(device)
        expected = torch.cat(list(draw(warping, decoder, volume, points, 1, faithful)))
        paths = fast_networks(warping, decoder)
        if arguments.compile:
            paths = tuple(torch.compile(path, mode="max-autotune") for path in paths)
        found = torch.cat(list(draw(*paths, volume, points, arguments.batch, fast)))
    print(f"torch {torch.__version__}, {device}, {arguments.threads} threads, {arguments.frames} frames")
    print(f"weights: {'official' if official else 'random (the official ones are not here)'}")
    for stage in ("appearance", "motion extractor"):
        wall, cpu = once.of(stage)
        print(f"{stage}, once a photo: {wall:.3f} s, CPU {cpu:.3f} s")
    print(f"{'seconds a frame':18}{'faithful float32':>20}{'CPU':>8}{'fast':>12}{'CPU':>8}{'faithful GFLOP':>17}")
    total = np.zeros(4)
    for stage in ("warping", "decoder"):
        row = np.array([*faithful.of(stage), *fast.of(stage)])
        total += row
        print(f"{stage:18}{row[0]:20.3f}{row[1]:8.3f}{row[2]:12.3f}{row[3]:8.3f}{flops[stage] / 1e9:17.0f}")
    operations = sum(flops.values())
    print(f"{'together':18}{total[0]:20.3f}{total[1]:8.3f}{total[2]:12.3f}{total[3]:8.3f}{operations / 1e9:17.0f}")
    rate = operations / 1e12
    print(f"faithful operations a second: {rate / total[0]:.2f} TFLOP/s, fast path {rate / total[2]:.2f} TFLOP/s")
    error = ((expected - found) ** 2).mean((1, 2, 3))
    worst, best, all_frames = (-10 * torch.log10(value).item() for value in (error.max(), error.min(), error.mean()))
    print(f"PSNR of the fast path: {worst:.1f} to {best:.1f} dB, {all_frames:.1f} over all frames")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, both paths loaded")


if __name__ == "__main__":
    main()
