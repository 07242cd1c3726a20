"""The motion space ``liveportrait``: 21 implicit keypoints that LivePortrait's motion extractor reads from a face crop.

Units: the crop reaches from -1 to 1; x to the right, y down. KDTalker's tokens are the motion's own numbers, each less
the mean and divided by the spread it has in the training data; these statistics come with KDTalker's weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file

from kptalk.errors import ImageError, WeightsError
from kptalk.face.geometry import rotation_matrix
from kptalk.files import explain
from kptalk.motion.liveportrait.regions import region
from kptalk.motion.space import Anatomy, relative_pose
from kptalk.networks.motion_extractor import MotionExtractor, bins_to_degrees
from kptalk.types import MODEL_FPS, N_KEYPOINTS, Array, Image, Motion, Portrait, SourceMotion

CROP = 256  # pixels, side of the face crop that the networks see
N_TOKEN = 7 + 3 * N_KEYPOINTS
BATCH_SIZE = 8  # pictures; bounds memory
# A token is scale, yaw, pitch, roll, translation, expression: the fields' names in KDTalker's statistics, their widths.
TOKEN_FIELDS = {"scale": 1, "yaw": 1, "pitch": 1, "roll": 1, "t": 3, "exp": 3 * N_KEYPOINTS}
CANONICAL_FIELD = {"kp": 3 * N_KEYPOINTS}


@dataclass(frozen=True)
class LivePortraitSource(SourceMotion):
    """What is read from a portrait; ``blink`` (21, 3) is what closes its lids when added to the expression.

    The space does not know it: it is zero until the renderer, which has LivePortrait's network for it, fills it in.
    """

    blink: Array


class LivePortraitSpace:
    """Reads motion from face crops, and turns motion into the denoiser's tokens and back.

    Args:
        extractor: LivePortrait's.
        statistics: mean and std of every field, named as in KDTalker's ``norm.npz`` (``yaw_mean`` (1,), ``exp_std``
            (63,), ...); None where only motion is read, never tokens.

    Raises:
        WeightsError: the statistics lack a field or have one of another size.
    """

    id, keypoints = "liveportrait", N_KEYPOINTS
    region = staticmethod(region)

    def __init__(self, extractor: MotionExtractor, statistics: Mapping[str, Array] | None = None) -> None:
        self.extractor = extractor.eval()
        if statistics is not None:
            self.token_mean, self.token_std = _joined(statistics, TOKEN_FIELDS)
            self.canonical_mean, self.canonical_std = _joined(statistics, CANONICAL_FIELD)

    def extract(self, portrait: Portrait) -> LivePortraitSource:
        """Source motion of one face crop, (256, 256, 3) uint8 RGB; its frame rate means nothing."""
        canonical, motion = self.read(portrait.image[None], MODEL_FPS)
        return LivePortraitSource(canonical[0], motion, np.zeros((N_KEYPOINTS, 3), np.float32))

    def anatomy(self, source: LivePortraitSource) -> Anatomy:
        """See ``MotionSpace``: expressions count from the photo's own; gaze is the denoiser's."""
        gaze = np.zeros((2, N_KEYPOINTS, 3), np.float32)
        return Anatomy(source.motion.expression[0], source.blink, gaze)

    def to_head_frame(self, motion: Motion) -> Array:
        """See ``MotionSpace``: these networks are given an expression as it is, however the head is turned."""
        return motion.expression

    def from_head_frame(self, expression: Array, rotation: Array) -> Array:
        return expression

    def relative(self, motion: Motion, anchor: Motion, source: Motion) -> Motion:
        """See ``MotionSpace``: delta = delta_s + delta_d - delta_d0, as in KDTalker and LivePortrait."""
        expression = source.expression + motion.expression - anchor.expression
        return motion.with_fields(**relative_pose(motion, anchor, source), expression=expression)

    def absolute(self, motion: Motion, source: Motion) -> Motion:
        """See ``MotionSpace``: the driving motion as it is, at the size that the face has in the source.

        All 63 numbers of the expression are replaced, as in KDTalker; LivePortrait's own program now replaces thirteen
        keypoints whole and five in part.
        """
        return motion.with_fields(scale=np.broadcast_to(source.scale, motion.scale.shape))

    def read(self, images: Image, fps: Fraction) -> tuple[Array, Motion]:
        """Motion of the face crops of a video.

        Args:
            images: (T, 256, 256, 3) uint8 RGB.
            fps: of the video.

        Returns:
            canonical keypoints (T, 21, 3) of every picture, and the motion.

        Raises:
            ImageError: the pictures have another shape.
        """
        if images.shape[1:] != (CROP, CROP, 3) or images.dtype != np.uint8:
            raise ImageError(f"face crops are {images.dtype} {images.shape}: give uint8 (T, {CROP}, {CROP}, 3)")
        parts = [self._read(images[first : first + BATCH_SIZE]) for first in range(0, len(images), BATCH_SIZE)]
        columns = np.concatenate(parts) if parts else np.zeros((0, N_TOKEN + 3 * N_KEYPOINTS), np.float32)
        return columns[:, N_TOKEN:].reshape(-1, N_KEYPOINTS, 3), _motion(columns[:, :N_TOKEN], fps)

    def tokens(self, motion: Motion) -> Array:
        """Motion (T frames) to the denoiser's tokens (T, 70): scale, yaw, pitch, roll, translation, expression."""
        expression = motion.expression.reshape(-1, 3 * N_KEYPOINTS)
        columns = np.concatenate([motion.scale, motion.rotation, motion.translation, expression], 1)
        tokens: Array = (columns - self.token_mean) / self.token_std
        return tokens

    def motion(self, tokens: Array, fps: Fraction = MODEL_FPS) -> Motion:
        """The inverse of ``tokens``."""
        return _motion(tokens * self.token_std + self.token_mean, fps)

    def canonical_token(self, canonical: Array) -> Array:
        """Canonical keypoints (21, 3) to the denoiser's first reference token (70,): seven zeros, the keypoints."""
        keypoints = (canonical.reshape(-1) - self.canonical_mean) / self.canonical_std
        token: Array = np.concatenate([np.zeros(7, np.float32), keypoints])
        return token

    @torch.inference_mode()
    def _read(self, images: Image) -> Array:
        """(n, 256, 256, 3) to (n, 70 + 63): scale, yaw, pitch, roll, translation, expression, canonical keypoints."""
        heads = self.extractor(crops_to_tensor(images, next(self.extractor.parameters()).device))
        angles = [bins_to_degrees(logits) for logits in (heads.yaw, heads.pitch, heads.roll)]
        columns = torch.cat([heads.scale, *angles, heads.translation, heads.expression, heads.canonical], 1)
        read: Array = columns.float().cpu().numpy()
        return read


def crops_to_tensor(images: Image, device: torch.device) -> torch.Tensor:
    """Face crops (T, 256, 256, 3) uint8 as the networks take them: (T, 3, 256, 256) float32 RGB from 0 to 1."""
    pixels = torch.from_numpy(np.array(images)).to(device)
    return pixels.permute(0, 3, 1, 2).float() / 255


def keypoints(canonical: Array, motion: Motion) -> Array:
    """Keypoints in the crop (KDTalker eq. 1): x = s (x_c R + delta) + t with t_z = 0.

    Args:
        canonical: (21, 3), or (T, 21, 3) for one of every frame.
        motion: T frames.

    Returns:
        (T, 21, 3) float32.
    """
    shaped = canonical @ rotation_matrix(motion.rotation) + motion.expression
    shift = motion.translation * np.array([1, 1, 0], np.float32)
    moved: Array = (motion.scale[:, None] * shaped + shift[:, None]).astype(np.float32)
    return moved


def read_statistics(path: str | Path) -> dict[str, Array]:
    """KDTalker's statistics from a safetensors file with the entries of its ``norm.npz``.

    Raises:
        WeightsError: the file is absent or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read motion statistics {path}: {explain(error)}") from error


def _motion(columns: Array, fps: Fraction) -> Motion:
    """(T, 70) in the order of a token, not normalised."""
    return Motion(
        scale=columns[:, :1],
        rotation=columns[:, 1:4],
        translation=columns[:, 4:7],
        expression=columns[:, 7:].reshape(-1, N_KEYPOINTS, 3),
        fps=fps,
        space=LivePortraitSpace.id,
    )


def _joined(statistics: Mapping[str, Array], fields: Mapping[str, int]) -> tuple[Array, Array]:
    """Mean and std of the fields, one after the other."""
    joined = []
    for kind in ("mean", "std"):
        for name, width in fields.items():
            size = np.size(statistics.get(f"{name}_{kind}", ()))
            if size != width:
                raise WeightsError(f"motion statistics have {size} numbers {name}_{kind}, expected {width}")
        joined.append(np.concatenate([np.ravel(statistics[f"{name}_{kind}"]) for name in fields]).astype(np.float32))
    if not ((joined[1] > 0).all() and np.isfinite(joined).all()):
        raise WeightsError("motion statistics hold a spread that is not above zero, or numbers that are not finite")
    return joined[0], joined[1]
