"""Makes tests/data/parity: numbers of the reference for rule-made input, and our own numbers for free media.

    python tests/data/make_fixtures.py [FOLDER]       default: tests/data/parity

The reference's fixtures are kept outside the repository (../shared/parity): some hold pictures and speech of KDTalker's
repository (CC BY-NC 4.0), and what was computed from them. What depends on random input alone is copied from there,
number by number. What depends on those pictures and that speech is computed anew here by this package, from the
astronaut of scikit-image and the demo's own speech. Before that, the same functions are given the reference's own input
and have to give the reference's output: that is the proof; the new numbers only guard against later change.

Without ../shared the copied numbers are taken from FOLDER's present files, and nothing can be proven.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter
from skimage import data

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "helpers"))

from parity_weights import normal, weights  # noqa: E402

from kptalk.evaluate.metrics.cpbd import canny_edges, cpbd, edge_widths, sobel_edges  # noqa: E402
from kptalk.evaluate.metrics.lse import sync_score  # noqa: E402
from kptalk.evaluate.metrics.mfcc import mfcc  # noqa: E402
from kptalk.face.geometry import rotation_matrix  # noqa: E402
from kptalk.media.audio import Speech  # noqa: E402
from kptalk.motion.diffusion import sample  # noqa: E402
from kptalk.motion.filters import kalman  # noqa: E402
from kptalk.motion.liveportrait.space import LivePortraitSpace, keypoints  # noqa: E402
from kptalk.networks.appearance import AppearanceExtractor  # noqa: E402
from kptalk.networks.audio_encoder import AudioEncoder  # noqa: E402
from kptalk.networks.denoiser import OFFICIAL_PREFIX, Denoiser  # noqa: E402
from kptalk.networks.dense_motion import candidate_inputs, candidate_motions  # noqa: E402
from kptalk.networks.hopenet import Hopenet, degrees  # noqa: E402
from kptalk.networks.motion_extractor import MotionExtractor, bins_to_degrees  # noqa: E402
from kptalk.networks.spade import SpadeDecoder, fold_spectral_norm  # noqa: E402
from kptalk.networks.syncnet import SyncNet  # noqa: E402
from kptalk.networks.warping import WarpingNetwork  # noqa: E402
from kptalk.types import Face, Portrait  # noqa: E402

Arrays = dict[str, np.ndarray]
SHARED = ROOT.parent / "shared" / "parity"
NO_FACE = Face(np.zeros((478, 3), np.float32))  # LivePortrait reads pixels alone
# Media of KDTalker's repository; a file of this repository must hold other arrays under these names.
FOREIGN = ("image_rgb_u8", "crop_rgb_u8", "gray_0", "gray_1", "gray_2", "wav_16k_mono_3s", "wav_int16_16k_mono")
FOREIGN += ("wav_int16_3s",)
MEAN, STD = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
LEFT_OUT = ("mel_full_file_shape", "wav2lip_original_chunk_starts", "skimage_version")  # no test needs them


class Maker:
    """Computes what depends on media. ``parity`` is the folder of the manifests."""

    def __init__(self, parity: Path, statistics: Arrays) -> None:
        self.parity = parity
        state = weights(parity, "kdtalker_point_diffusion")
        self.denoiser = Denoiser()
        self.denoiser.load_state_dict({name.removeprefix(OFFICIAL_PREFIX): value for name, value in state.items()})
        self.encoder = self.load(AudioEncoder(), "wav2lip_audio_encoder")
        self.space = LivePortraitSpace(self.load(MotionExtractor(), "motion_extractor"), statistics)
        self.appearance = self.load(AppearanceExtractor(), "appearance_feature_extractor")
        self.warping = self.load(WarpingNetwork(), "warping_module")
        self.decoder = SpadeDecoder()
        self.decoder.load_state_dict(fold_spectral_norm(weights(parity, "spade_generator")))
        self.hopenet = self.load(Hopenet(), "hopenet")
        self.syncnet = self.load(SyncNet(), "syncnet")
        for network in (self.denoiser, self.decoder):
            network.eval()

    def load(self, network: torch.nn.Module, name: str) -> torch.nn.Module:
        network.load_state_dict(weights(self.parity, name))
        return network.eval()

    def audio_mel(self, given: Arrays) -> Arrays:
        """By librosa, as the reference did, not by this package; 3 s of speech."""
        wave = given["wav_16k_mono_3s"]
        emphasised, stft, mel = librosa_mel(wave, "constant", given["mel_basis"])
        reflected = librosa_mel(wave, "reflect", given["mel_basis"])[2]
        kept = int(given["odd_length_samples"]) // 640 * 640
        shorter = librosa_mel(wave[:kept], "constant", given["mel_basis"])[2]
        return {
            "preemphasis_head": emphasised[:2000],
            "stft_abs_frames0_1_100_239_240": stft[:, [0, 1, 100, 239, 240]],
            "mel": mel,
            "mel_reflect_pad_first8_last8": np.concatenate([reflected[:, :8], reflected[:, -8:]], 1),
            "windows": windows_of(mel, 75),
            "odd_windows_last3": windows_of(shorter, int(given["odd_num_windows"]))[-3:],
        }

    def audio_encoder(self, given: Arrays) -> Arrays:
        return {"embedding_75x512": self.encoder(torch.from_numpy(given["windows"])).numpy()}

    def cpbd(self, given: Arrays) -> Arrays:
        made: Arrays = {}
        for k in range(3):
            grey = given[f"gray_{k}"]
            made[f"cpbd_{k}"] = np.float64(cpbd(grey))
            made[f"sobel_edges_{k}"] = np.packbits(sobel_edges(grey))
            made[f"canny_edges_{k}"] = np.packbits(canny_edges(grey))
            made[f"width_hist_{k}"] = np.bincount(edge_widths(grey).ravel(), minlength=64)
        return made

    def hopenet_fixture(self, given: Arrays) -> Arrays:
        cut = pillow_centre(given["crop_rgb_u8"])
        picture = (torch.from_numpy(cut.copy()).permute(2, 0, 1).float() / 255 - MEAN) / STD
        pictures = torch.stack([picture, picture.flip(-1)])
        logits = self.hopenet(pictures)
        made = {"resized_centercrop_u8": cut, "feature_2048": self.hopenet.features(pictures).numpy()}
        for axis, name in enumerate(("yaw", "pitch", "roll")):
            made[f"logits_{name}"] = logits[:, axis].numpy()
            made[f"degree_{name}"] = degrees(logits[:, axis]).numpy()
        return made

    def volume(self, given: Arrays) -> torch.Tensor:
        return self.appearance(tensor(given["image_rgb_u8"]))

    def lp_appearance_feature_extractor(self, given: Arrays) -> Arrays:
        return {"feature_3d": self.volume(given).numpy()}

    def lp_motion_extractor(self, given: Arrays) -> Arrays:
        heads = self.space.extractor(tensor(given["image_rgb_u8"]))
        raw = {"t": heads.translation, "exp": heads.expression, "scale": heads.scale, "kp": heads.canonical}
        bins = {"pitch": heads.pitch, "yaw": heads.yaw, "roll": heads.roll}
        info = raw | {name: bins_to_degrees(logits) for name, logits in bins.items()}
        source = self.space.extract(Portrait(given["image_rgb_u8"], NO_FACE))
        made = {f"raw_{name}": value.numpy() for name, value in (raw | bins).items()}
        made |= {f"info_{name}": value.numpy() for name, value in info.items()}
        return made | {
            "R_s": rotation_matrix(source.motion.rotation).astype(np.float32),
            "x_s": keypoints(source.canonical, source.motion),
        }

    def lp_warping_module(self, given: Arrays) -> Arrays:
        volume, driving, source = self.volume(given), *points(given)
        dense = self.warping.dense_motion_network
        compressed, motion = dense.compressed(volume), dense(volume, driving, source)
        motions = candidate_motions(driving, source, (16, 64, 64))
        inputs = candidate_inputs(compressed, motions, driving, source).unflatten(1, (22, 5))
        made = {"compressed_feature": compressed, "deformed_feature": inputs[:, :, 1:], "mask": motion.mask}
        made |= {"deformation": motion.deformation, "occlusion_map": motion.occlusion}
        made |= {"out": self.warping(volume, driving, source)}
        return {name: value.numpy() for name, value in made.items()}

    def lp_warp_decode(self, given: Arrays) -> Arrays:
        out = self.decoder(self.warping(self.volume(given), *points(given)))
        frame = levels(out)
        return {"out": out.numpy(), "parse_output_u8": frame, "parse_output_u8_every8px": frame[::8, ::8]}

    def syncnet_fixture(self, given: Arrays) -> Arrays:
        cepstra = mfcc(given["wav_int16_3s"])
        sound = torch.from_numpy(cepstra).float()
        windows = torch.stack([sound[4 * v : 4 * v + 20].T for v in range(int(given["num_windows"]))])
        embedding = self.syncnet.sound(windows)
        score = sync_score(torch.from_numpy(given["lip_embedding"]), embedding)
        return {
            "mfcc": cepstra,
            "audio_embedding": embedding.numpy(),
            "net_dists": np.asarray(score.distances, np.float32),
            "net_mdist": np.asarray(score.distances, np.float32).mean(0),
            "net_min_dist_LSE_D": np.float32(score.lse_d),
            "net_confidence_LSE_C": np.float32(score.lse_c),
            "net_offset": np.int64(score.offset),
            "net_framewise_conf": np.asarray(score.framewise, np.float32),
        }

    def kdtalker_end_to_end_32f(self, given: Arrays) -> Arrays:
        """The whole chain; statistics of three frames only, the others are not a number."""
        space, wave = self.space, given["wav_int16_16k_mono"].astype(np.float32) / 32768
        windows = windows_of(librosa_mel(wave, "constant", given["mel_basis"])[2], 32)
        features = self.encoder(torch.from_numpy(np.concatenate([windows, windows])))  # wrapped as the reference does
        source = space.extract(Portrait(given["image_rgb_u8"], NO_FACE))
        previous, canonical = space.tokens(source.motion), space.canonical_token(source.canonical)[None]
        references = torch.from_numpy(np.stack([canonical, previous], 1).astype(np.float32))
        noise = torch.from_numpy(given["initial_noise"])
        tokens = sample(self.denoiser, references, features[None], noise, 50)[0].numpy()
        driving = keypoints(source.canonical, space.absolute(kalman.smooth(space.motion(tokens[:32])), source.motion))
        own = keypoints(source.canonical, source.motion)
        made: Arrays = {
            "ref_kp": previous.astype(np.float32),
            "ori_kp": canonical.astype(np.float32),
            "aud_feat_64": features.numpy(),
            "x0_64x70": tokens,
            "x_s": own,
            "x_d_32": driving,
            "frame_mean_std": np.full((32, 2), np.nan),
        }
        for k in (0, 16, 31):
            warped = self.warping(self.volume(given), torch.from_numpy(driving[k : k + 1]), torch.from_numpy(own))
            frame = levels(self.decoder(warped))
            made[f"frame{k}_every8px"] = frame[::8, ::8]
            made["frame_mean_std"][k] = frame.mean(), frame.std()
        return made

    def kdtalker_sampling(self, given: Arrays) -> Arrays:
        """Only the de-normalised motion: all else is rule-made."""
        motion = self.space.motion(given["motion_norm_100x70"])
        made = {"scale": motion.scale[:, 0], "t": motion.translation, "exp": motion.expression.reshape(-1, 63)}
        made |= {name: motion.rotation[:, [k]] for k, name in enumerate(("yaw", "pitch", "roll"))}
        return {f"motion_denorm_{name}": value for name, value in made.items()}


def librosa_mel(wave: np.ndarray, pad_mode: str, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) float32 at 16 kHz -> pre-emphasised (N,), STFT magnitudes (401, T), normalised mel spectrogram (80, T)."""
    import librosa

    emphasised = lfilter([1, -0.97], [1], wave.astype(np.float64))
    stft = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode=pad_mode))
    decibels = 20 * np.log10(np.maximum(1e-5, basis @ stft)) - 20
    return emphasised, stft, np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)


def windows_of(mel: np.ndarray, count: int) -> np.ndarray:
    """(80, T) -> (count, 80, 16) float32: a window of each frame at 25 fps, edges repeated."""
    starts = [int(80 * ((k - 2) / 25)) for k in range(count)]
    places = np.clip(np.array(starts)[:, None] + np.arange(16), 0, mel.shape[1] - 1)
    return mel[:, places].transpose(1, 0, 2).astype(np.float32)


def pillow_centre(crop: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (224, 224, 3): shorter side resized to 224 by Pillow, then the centre."""
    height, width = crop.shape[:2]
    size = (int(224 * width / min(crop.shape[:2])), int(224 * height / min(crop.shape[:2])))
    resized = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BILINEAR))
    top, left = (round((side - 224) / 2) for side in resized.shape[:2])
    return resized[top : top + 224, left : left + 224]


def tensor(picture: np.ndarray) -> torch.Tensor:
    """(256, 256, 3) uint8 -> (1, 3, 256, 256) float32 from 0 to 1."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def levels(picture: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) float32 from 0 to 1 -> (H, W, 3) uint8, truncated as the reference does."""
    return (picture[0].clamp(0, 1) * 255).permute(1, 2, 0).numpy().astype(np.uint8)


def points(given: Arrays) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(given["kp_driving"]), torch.from_numpy(given["kp_source"])


# Fixture: its maker, and the media that it starts from.
MADE: dict[str, tuple[Callable[[Maker, Arrays], Arrays], tuple[str, ...]]] = {
    "audio_mel": (Maker.audio_mel, ("wav_16k_mono_3s",)),
    "audio_encoder": (Maker.audio_encoder, ()),
    "cpbd": (Maker.cpbd, ("gray_0", "gray_1", "gray_2")),
    "hopenet": (Maker.hopenet_fixture, ("crop_rgb_u8",)),
    "lp_appearance_feature_extractor": (Maker.lp_appearance_feature_extractor, ("image_rgb_u8",)),
    "lp_motion_extractor": (Maker.lp_motion_extractor, ("image_rgb_u8",)),
    "lp_warping_module": (Maker.lp_warping_module, ()),
    "lp_warp_decode": (Maker.lp_warp_decode, ("image_rgb_u8",)),
    "syncnet": (Maker.syncnet_fixture, ("wav_int16_3s",)),
    "kdtalker_end_to_end_32f": (Maker.kdtalker_end_to_end_32f, ("image_rgb_u8", "wav_int16_16k_mono")),
    "kdtalker_sampling": (Maker.kdtalker_sampling, ()),
}
# Inputs that a fixture takes from another one.
BORROWED = {
    "audio_encoder": ("audio_mel", "windows"),
    "lp_warping_module": ("lp_appearance_feature_extractor", "image_rgb_u8"),
    "kdtalker_end_to_end_32f": ("audio_mel", "mel_basis"),
}


def free_media() -> Arrays:
    """Media that anyone may pass on, under the names that the fixtures have for them."""
    astronaut = data.astronaut()  # NASA, public domain
    wave = np.concatenate(list(Speech.open(ROOT / "examples" / "speech.mp3").chunks()))[: 3 * 16_000]
    whole = np.rint(wave.clip(-1, 1) * 32767).astype(np.int16)
    grey = np.asarray(Image.fromarray(astronaut[:256, 96:352]).convert("L"))
    return {
        "image_rgb_u8": astronaut[:256, 96:352],
        "crop_rgb_u8": astronaut[20:250, 110:337],
        "gray_0": grey,
        "gray_1": data.camera()[64:320, 128:384],  # CC0
        "gray_2": np.rint(gaussian_filter(grey.astype(np.float64), 1.5)).astype(np.uint8),
        "wav_16k_mono_3s": wave.astype(np.float32),
        "wav_int16_3s": whole,
        "wav_int16_16k_mono": whole[:20_480],
    }


def rule_statistics() -> Arrays:
    """Means and spreads of motion by rule, of the size that heads have; named as in KDTalker's ``norm.npz``."""
    sizes = {"yaw": (1, 3, 8), "pitch": (1, 3, 5), "roll": (1, 1, 3), "t": (3, 0.02, 0.05), "exp": (63, 0.005, 0.01)}
    sizes |= {"scale": (1, 0.1, 0.1), "kp": (63, 0.2, 0.2), "c_lip": (1, 0.05, 0.1), "c_eye": (2, 0.05, 0.1)}
    made = {}
    for name, (width, centre, spread) in sizes.items():
        mean = (1.5 if name == "scale" else 0) + centre * normal(f"kdtalker_norm/{name}_mean", (width,))
        std = spread * (0.5 + np.abs(normal(f"kdtalker_norm/{name}_std", (width,))))
        made |= {f"{name}_mean": mean.astype(np.float32), f"{name}_std": std.astype(np.float32)}
    return made


def sampled(name: str, value: np.ndarray, like: Arrays) -> Arrays:
    """An array as the fixture stores it: whole, or every n-th element with its shape, mean and std."""
    if f"{name}__sample" not in like:
        return {name: value.astype(like[name].dtype)}
    stride = int(like[f"{name}__stride"])
    return {
        f"{name}__sample": value.reshape(-1)[::stride].astype(like[f"{name}__sample"].dtype),
        f"{name}__stride": np.int64(stride),
        f"{name}__shape": np.array(value.shape),
        f"{name}__mean": value.mean(dtype=np.float64),
        f"{name}__std": value.std(dtype=np.float64),
    }


def borrowed(name: str, fixtures: dict[str, Arrays]) -> Arrays:
    if name not in BORROWED:
        return {}
    fixture, key = BORROWED[name]
    return {key: fixtures[fixture][key]}


def media_dependent(name: str, maker: Maker, given: Arrays) -> Arrays:
    """All arrays of a fixture that its maker computes, as they are stored."""
    made = MADE[name][0](maker, given)
    return {key: value for field in made for key, value in sampled(field, made[field], given).items()}


def agree(key: str, found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two arrays are the same but for float32's noise; pictures but for a level where it is truncated."""
    if found.shape != expected.shape:
        return False
    if found.dtype == np.uint8 and "edges" not in key:
        off = np.abs(found.astype(int) - expected)
        return bool(off.max() <= 1 and (off > 0).mean() < 5e-3)
    if found.dtype.kind in "iu":
        return bool(np.array_equal(found, expected))
    known = np.isfinite(found)
    size = max(1.0, float(np.abs(expected[known]).max()))
    tolerance = 1e-4 if key in ("x_d_32", "x0_64x70", "frame_mean_std") else 2e-5
    return bool(np.abs(found - expected)[known].max() <= tolerance * size)


def prove(fixtures: dict[str, Arrays], statistics: Arrays, parity: Path) -> list[str]:
    """The reference's arrays that this package does not give for the reference's own input; should be none."""
    maker, off = Maker(parity, statistics), []
    for name in MADE:
        given = fixtures[name] | borrowed(name, fixtures)
        made = media_dependent(name, maker, given)
        off += [f"{name}: {key}" for key, value in made.items() if not agree(key, value, fixtures[name][key])]
    return off


def regenerate(fixtures: dict[str, Arrays], parity: Path) -> dict[str, Arrays]:
    """The repository's fixtures: what is rule-made stays, what depends on media is computed from free media."""
    media, statistics = free_media(), rule_statistics()
    maker, made = Maker(parity, statistics), {}
    for name, original in fixtures.items():
        kept = {key: value for key, value in original.items() if key not in (*FOREIGN, *LEFT_OUT)}
        made[name] = kept | {key: media[key] for key in (MADE[name][1] if name in MADE else ())}
    made["kdtalker_norm"] = statistics
    for name in MADE:
        made[name] |= media_dependent(name, maker, made[name] | borrowed(name, made))
    return made


def read(folder: Path) -> dict[str, Arrays]:
    return {path.stem: dict(np.load(path)) for path in sorted((folder / "fixtures").glob("*.npz"))}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE / "parity")
    folder = parser.parse_args().folder
    source = SHARED if SHARED.is_dir() else folder
    fixtures = read(source)
    if source == SHARED:
        off = prove(fixtures, fixtures["kdtalker_norm"], SHARED)
        if off:
            sys.exit("not the reference's numbers: " + ", ".join(off))
    for kind in ("manifests", "fixtures"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for path in (source / "manifests").glob("*.json"):
        content = json.loads(path.read_text())
        (folder / "manifests" / path.name).write_text(json.dumps(content, separators=(",", ":")) + "\n")
    for name, arrays in regenerate(fixtures, source).items():
        np.savez_compressed(folder / "fixtures" / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
