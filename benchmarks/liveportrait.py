"""The official weights' method at 512 x 512: LivePortrait's networks stage by stage, motion, and the finished video.

python benchmarks/liveportrait.py [--device cpu|cuda] [--frames N] [--batch N] [--precision auto|float32] [--compile]
    [--ceiling TFLOPS]

* The faithful float32 path, one frame at a time, beside the fast one, and the PSNR between them.
* Frames a second as the program draws them: on a CPU several frames at the same time, one to a thread of Python.
* Motion: 64 frames, from mel windows to tokens, in milliseconds.
* From a recording to an .mp4 file, motion and encoder included; models are loaded and the photo is read before.

On a GPU take --frames 64 or more, of which the video has eight times as many. With the official weights if they were
converted (`kptalk weights pull official`), else with random ones of about the size that trained ones have: the time is
the same, the PSNR then says what rounding does to an arbitrary network. "CPU" is the processor time of all threads: on
a busy machine it says more than the clock on the wall.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import portrait, recording
from skimage import data
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kptalk.device import pick_device, set_threads, side_by_side
from kptalk.errors import OptionError
from kptalk.face.framing import EDGES
from kptalk.methods.kdtalker import GPU_BATCH, KDTalkerMethod, method
from kptalk.motion.generator import WINDOW
from kptalk.motion.liveportrait.generator import KDTalkerGenerator
from kptalk.motion.liveportrait.space import LivePortraitSpace, crops_to_tensor, keypoints, read_statistics
from kptalk.options import Options
from kptalk.pipeline import Pipeline
from kptalk.render.liveportrait.networks import fast_networks
from kptalk.render.liveportrait.renderer import LivePortraitRenderer
from kptalk.types import Face, Motion, Portrait
from kptalk.weights.convert import Network
from kptalk.weights.official import NORM, TARGETS
from kptalk.weights.registry import converted_path, entry_of
from kptalk.weights.store import load_model

FPS = 25
RENDERER = "appearance_extractor", "motion_extractor", "warping", "decoder"
OTHERS = "stitching", "retargeting_eye", "audio", "kdtalker"
# Dense bfloat16, TFLOP/s, from the makers' data sheets; the first name that is part of the device's counts.
CEILINGS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165}
GAINS = {"mask": 6.0, "occlusion": 2.0, "mlp_gamma": 0.5, "mlp_beta": 0.5, "conv_img": 0.5, "conv2": 0.5, "fc": 1.0}


def load(name: str) -> tuple[nn.Module, bool]:
    """A network, and whether its weights are the official ones."""
    target, path = TARGETS[name], converted_path(entry_of(name))
    assert isinstance(target, Network)
    if path.is_file():
        return load_model(path, target.model_class, type(target.config)), True
    torch.manual_seed(0)
    network = target.model_class(target.config).eval()
    for key, value in network.state_dict().items() if name in RENDERER else ():
        if key.endswith("weight") and value.dim() > 1:
            gain = next((gain for part, gain in GAINS.items() if part in key.split(".")), 2**0.5)
            value.normal_(0, gain / value[0].numel() ** 0.5)
            if name == "decoder" and key.split(".")[-2] in ("conv_0", "conv_1", "conv_s"):
                value /= largest_singular_value(value.flatten(1))  # as spectral normalisation leaves it
        elif key.endswith("bias"):
            value.normal_(0, 0.1)
    return network, False


def crop() -> Portrait:
    """The square around a face, whose landmarks are not looked at."""
    return Portrait(np.ascontiguousarray(data.astronaut()[:256, 96:352]), Face(np.zeros((478, 3), np.float32)))


def statistics() -> dict[str, np.ndarray]:
    """The official ones, or some under which random motion stays small."""
    path = converted_path(entry_of("kdtalker_norm"))
    if path.is_file():
        return read_statistics(path)
    value = {"mean": 0.0, "std": 0.01}
    made = {name: np.full(shape, value[name.rpartition("_")[2]], np.float32) for name, shape in NORM.shapes.items()}
    return made | {"scale_mean": np.full(NORM.shapes["scale_mean"], 1.5, np.float32)}


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


def fixed(network: Callable[..., Tensor], batch: int) -> Callable[..., Tensor]:
    """A compiled network that always sees whole batches, for every other size would be compiled anew."""
    compiled = torch.compile(network, mode="max-autotune")

    def call(*inputs: Tensor) -> Tensor:
        count = len(inputs[0])
        whole = (torch.cat([t, t[-1:].expand(batch - count, *t.shape[1:])]) for t in inputs)
        return compiled(*whole)[:count].clone()  # the next call writes to the same memory

    return call


def draw(warp, decode, volume: Tensor, points: Tensor, batch: int, clock: Clock) -> Iterator[Tensor]:
    """Pictures of all frames, the first batch once more before."""
    pieces = list(points[1:].split(batch))
    for i, driving in enumerate([pieces[0], *pieces]):
        many = volume.expand(len(driving), *volume.shape[1:]), driving, points[:1].expand_as(driving)
        features = clock("warping", lambda many=many: warp(*many))
        pictures = clock("decoder", lambda features=features: decode(features))
        if i:
            yield pictures.float().clamp(0, 1).cpu()


@torch.inference_mode()
def compare(networks: dict[str, nn.Module], paths, frames: int, batch: int) -> float:
    """Print the stages' times and the PSNR; returns the faithful path's operations for a frame."""
    warping, decoder = networks["warping"], networks["decoder"]
    device = next(decoder.parameters()).device
    picture, points = crops_to_tensor(crop().image[None], device), keypoint_frames(frames).to(device)
    once = Clock(device)
    for _ in range(3):
        volume = once("appearance", lambda: networks["appearance_extractor"](picture))
        once("motion extractor", lambda: networks["motion_extractor"](picture).canonical)
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
    found = torch.cat(list(draw(*paths, volume, points, batch, fast)))
    for stage in ("appearance", "motion extractor"):
        wall, cpu = once.of(stage)
        print(f"{stage}, once a photo: {wall:.3f} s, CPU {cpu:.3f} s")
    print(f"{'seconds a frame':18}{'faithful float32':>20}{'CPU':>8}{'fast':>12}{'CPU':>8}{'faithful GFLOP':>17}")
    total = np.zeros(4)
    for stage in ("warping", "decoder"):
        row = np.array([*faithful.of(stage), *fast.of(stage)])
        total += row
        print(f"{stage:18}{row[0]:20.4f}{row[1]:8.4f}{row[2]:12.4f}{row[3]:8.4f}{flops[stage] / 1e9:17.0f}")
    operations = sum(flops.values())
    print(f"{'together':18}{total[0]:20.4f}{total[1]:8.4f}{total[2]:12.4f}{total[3]:8.4f}{operations / 1e9:17.0f}")
    error = ((expected - found) ** 2).mean((1, 2, 3))
    worst, best, all_frames = (-10 * torch.log10(value).item() for value in (error.max(), error.min(), error.mean()))
    print(f"PSNR of the fast path: {worst:.1f} to {best:.1f} dB, {all_frames:.1f} over all frames")
    return operations


def rate(label: str, seconds: float, cpu: float, operations: float, ceiling: float | None) -> None:
    """Print frames a second and what that is of the device's arithmetic, in operations of the faithful path."""
    speed = operations / seconds / 1e12
    share = f", {speed / ceiling:.0%} of {ceiling:g}" if ceiling else ""
    print(
        f"{label}: {1 / seconds:.2f} frames/s, {seconds:.4f} s a frame, CPU {cpu:.4f} s; "
        f"{speed:.2f} faithful TFLOP/s{share}"
    )


def time_drawing(renderer: LivePortraitRenderer, frames: int, repeats: int = 3) -> tuple[float, float]:
    """Seconds a frame on the wall and of the processor, the median of some runs after one more."""
    state = renderer.start(renderer.prepare(crop(), EDGES), 0)
    motion = Motion.concatenate([state.source.motion] * frames)
    turned = motion.with_fields(rotation=motion.rotation + np.linspace(0, 10, frames)[:, None])
    spent = []
    for _ in range(1 + repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        renderer.step(turned, state)
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (median(times) / frames for times in zip(*spent[1:], strict=True))
    return wall, cpu


def time_motion(generator: KDTalkerGenerator, space: LivePortraitSpace, steps: int, repeats: int = 3) -> float:
    """Milliseconds for a window of 64 frames, copied back from the device."""
    windows = np.random.default_rng(0).normal(0, 1, (WINDOW, 80, 16)).astype(np.float32)
    state, spent = generator.start(space.extract(crop()), 0), []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        generator.with_steps(steps).step(windows, state)
        spent.append(time.perf_counter() - started)
    return 1000 * median(spent[1:])


def time_video(kdtalker: KDTalkerMethod, frames: int, steps: int) -> tuple[float, float, str]:
    """Seconds a frame on the wall and of the processor from a recording to the .mp4 file, and what each stage took."""
    pipeline = Pipeline(kdtalker, "benchmark", "kdtalker")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, options = portrait(folder), Options(framing="crop", stitch=True, steps=steps)
        for i, count in enumerate((min(frames, GPU_BATCH), frames)):  # the first warms up
            animation = pipeline.animate(photo, recording(folder, count / FPS), options=options)
            wall, cpu = time.perf_counter(), time.process_time()
            animation.save(folder / f"{i}.mp4")
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    stages = ", ".join(
        f"{stage} {seconds:.2f} s" for stage, seconds in animation.seconds.items() if stage != "portrait"
    )
    return wall / frames, cpu / frames, stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--batch", type=int, help=f"frames in one batch of the fast path; 1, on a GPU {GPU_BATCH}")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32"), help="of the fast path")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the fast path (on a GPU with CUDA graphs)"
    )
    parser.add_argument("--ceiling", type=float, help="TFLOP/s in dense bfloat16, of devices that are not known here")
    arguments = parser.parse_args()
    threads = set_threads()
    try:
        device = pick_device(arguments.device)
    except OptionError as error:
        parser.error(f"{error}; nothing is measured")
    on_gpu = device.type == "cuda"
    torch.backends.cudnn.allow_tf32 = False  # the faithful path is float32
    batch = arguments.batch or (GPU_BATCH if on_gpu else 1)
    workers = 1 if on_gpu or arguments.compile else side_by_side()
    title = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {threads} threads for a frame"
    ceiling = arguments.ceiling or next((value for name, value in CEILINGS.items() if on_gpu and name in title), None)
    loaded = {name: load(name) for name in (*RENDERER, *OTHERS)}
    networks = {name: network.to(device) for name, (network, _) in loaded.items()}
    official = all(there for _, there in loaded.values())
    print(f"torch {torch.__version__}, {title}, {arguments.frames} frames, batches of {batch}")
    print(f"weights: {'official' if official else 'random (the official ones are not here)'}")
    if not torch.cuda.is_available():
        print("no CUDA device is here: nothing below is a GPU's number")

    paths = fast_networks(networks["warping"], networks["decoder"], arguments.precision)
    if arguments.compile:
        paths = tuple(fixed(path, batch) for path in paths)
    operations = compare(networks, paths, arguments.frames, batch)
    space = LivePortraitSpace(networks["motion_extractor"], statistics())
    small = networks["stitching"], networks["retargeting_eye"]
    renderer = LivePortraitRenderer(space, networks["appearance_extractor"], *paths, *small, batch, workers)
    rate(f"drawing, {workers} side by side", *time_drawing(renderer, 2 * arguments.frames), operations, ceiling)
    generator = KDTalkerGenerator(space, networks["audio"], networks["kdtalker"], np.zeros(80, np.float32))
    for steps in (50, 10):
        print(f"motion of {WINDOW} frames, {steps} steps: {time_motion(generator, space, steps):.1f} ms")
    kdtalker = method(generator, renderer)
    frames = arguments.frames * (8 if on_gpu else 2)
    for steps in (50, 10):
        wall, cpu, stages = time_video(kdtalker, frames, steps)
        rate(f"recording to .mp4, {frames} frames, {steps} steps", wall, cpu, operations, ceiling)
        print(f"  {stages} (drawing and encoding run side by side)")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, both paths loaded", end="")
    print(f"; on the GPU {torch.cuda.max_memory_allocated(device) / 2**20:.0f} MB" if on_gpu else "")


if __name__ == "__main__":
    main()
