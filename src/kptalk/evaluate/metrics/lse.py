"""LSE-C, LSE-D and AV offset: how well lips and audio fit together, by SyncNet.

Windows and distances are those of ``SyncNetInstance.py`` (syncnet_python) and ``scores_LSE`` (Wav2Lip), which the
papers use; the face is cropped by the geometry of their ``run_pipeline.py``. Two things differ, so that numbers come
near those of the papers' scripts but not to the digit:

* Their frames pass through JPEG files, an MPEG-4 video and JPEG files again. Ours come as they were decoded.
* Their boxes are those of the detector S3FD, ours are made from FaceMesh landmarks (see ``detector_box``).
"""

from collections import deque
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.ndimage import median_filter
from torch import Tensor

from kptalk.evaluate.metric import FPS, RATE, AudioPair, FrameSample, NetworkMetric, specs
from kptalk.evaluate.metrics.mfcc import mfcc
from kptalk.face.geometry import square_around
from kptalk.networks.syncnet import CLIP, MFCCS, SIDE, SyncNet, SyncNetConfig
from kptalk.types import Array, Floats, Image

SHIFT = 15  # frames by which the sound is shifted, to either side
SAMPLES = int(RATE / FPS)  # a frame
MFCC_RATE = 4  # MFCC frames for each frame
TINY = 1e-6  # added to every difference, as ``torch.nn.functional.pairwise_distance`` does
MEDIAN = 13  # frames of the filter that holds the crop still
SMOOTH = 9  # windows, of the filter for confidence by window
MARGIN = 0.4  # of half a box, that the crop has on the left and right; twice that below
GREY = 110  # what is seen beyond the picture's edge
FOREHEAD = 0.08  # of the landmarks' height, that a detector's box reaches above them
LIP_BATCH = 8  # windows; the first layer needs 9 MB for each
SOUND_BATCH = 64


class SyncScore(NamedTuple):
    """What the distances between lips and shifted audio tell.

    ``distances`` (N, 2 * shift + 1) float32 are Euclidean, of the lips' window n and the audio's window n - shift + j;
    there are vectors of zeros where the audio has no window. ``framewise`` (N,) float32 is LSE-C of every window by
    itself: the median of the means, less its own distance at the offset, median-filtered over 9 windows.
    """

    distances: Array
    lse_d: float  # least mean distance
    lse_c: float  # median over the shifts of the mean distance, less the least
    offset: int  # frames by which the lips come later than the audio at the least distance; < 0: earlier
    framewise: Array


def sync_score(lips: Tensor, sound: Tensor, shift: int = SHIFT) -> SyncScore:
    """Compare embeddings (N, D) float32 of lips and sound whose windows begin at the same frames, N > 0."""
    padded = torch.nn.functional.pad(sound, (0, 0, shift, shift))
    shifts = range(2 * shift + 1)
    distances = torch.stack([torch.linalg.norm(lips - padded[j : j + len(lips)] + TINY, dim=1) for j in shifts], 1)
    means = distances.mean(0)
    best, median = int(means.argmin()), means.median()
    framewise = median_filter((median - distances[:, best]).numpy(), SMOOTH, mode="constant")
    return SyncScore(distances.numpy(), float(means[best]), float(median - means[best]), shift - best, framewise)


def detector_box(mesh: Array) -> tuple[float, float, float, float]:
    """About the box (x0, y0, x1, y1) that a face detector would give for landmarks (478, 3), in their pixels.

    The landmarks' own box, reaching 8 % higher. Measured on 42 clips of LRS3, a data set that SyncNet's authors cut
    by the same geometry: 1 / 1.4 of such a crop's height is the detector's box, from the upper edge on; FaceMesh's
    highest point lies at 5.2 % (quartiles 3.8 and 6.8 %), its lowest at 70.8 % (69.6 and 71.6 %).
    """
    (x0, y0), (x1, y1) = mesh[:, :2].min(0).tolist(), mesh[:, :2].max(0).tolist()
    return x0, y0 - FOREHEAD * (y1 - y0), x1, y1


def crop_face(image: Image, x: float, y: float, half: float) -> Image:
    """The (224, 224, 3) picture around a box whose centre is (x, y) and whose longer side is twice ``half`` pixels.

    2.8 ``half`` wide and high, the box at its top; rounded and resized as the reference does.
    """
    pad = int(half * (1 + 2 * MARGIN))  # whole pixels are counted from the padded picture's corner
    x0, x1 = (int(x + pad + side * half * (1 + MARGIN)) - pad for side in (-1, 1))
    y0, y1 = int(y + pad - half) - pad, int(y + pad + half * (1 + 2 * MARGIN)) - pad
    face = np.full((max(y1 - y0, 1), max(x1 - x0, 1), 3), GREY, np.uint8)
    inside = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    top, left = max(-y0, 0), max(-x0, 0)
    face[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return np.asarray(cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))


class FaceCrops:
    """Crops of a video's face as its frames come, held still by a median over 13 frames.

    Nothing comes before the first frame with a face; a later frame without one has the box of the frame before it.
    Beyond the ends of the track the filter sees zeros, as the reference's does.
    """

    def __init__(self) -> None:
        self.skipped = 0  # frames before the first face
        self._boxes: deque[Floats] = deque([np.zeros(3)] * (MEDIAN // 2), maxlen=MEDIAN)  # centre and half the side
        self._waiting: deque[Image] = deque()  # whose boxes to come are not known: 6 at most
        self._box: Floats | None = None

    def push(self, frame: FrameSample) -> Image | None:
        """Take a frame; give the crop of the one six frames earlier, if that has one."""
        if frame.mesh is not None:
            self._box = np.array(square_around(detector_box(frame.mesh), 0.5))
        if self._box is None:
            self.skipped += 1
            return None
        self._waiting.append(frame.image)
        return self._next(self._box)

    def finish(self) -> list[Image]:
        """The last six crops."""
        return [crop for _ in range(MEDIAN // 2) if (crop := self._next(np.zeros(3))) is not None]

    def _next(self, box: Floats) -> Image | None:
        self._boxes.append(box)
        if len(self._boxes) < MEDIAN or not self._waiting:
            return None
        x, y, half = np.median(self._boxes, axis=0)
        return crop_face(self._waiting.popleft(), x, y, half)


class SyncNetMetric(NetworkMetric):
    """LSE-C, LSE-D and offset by the official SyncNet.

    NaN for less than seven frames with audio from the first face on. Keeps the lips' embeddings, 4 KB a frame, and
    never more than a few frames.
    """

    network, classes = "syncnet", (SyncNet, SyncNetConfig)
    columns = specs("lse_c", "lse_d", "syncnet_offset")

    def reset(self) -> None:
        self._crops = FaceCrops()
        self._frames: list[Image] = []  # crops that have not been embedded, and the four before them
        self._lips: list[Tensor] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        if (crop := self._crops.push(generated)) is not None:
            self._add(crop)

    def compute(self, audio: AudioPair) -> dict[str, float]:
        for crop in self._crops.finish():
            self._add(crop)
        if len(self._frames) >= CLIP:
            self._embed()
        samples = audio.generated[self._crops.skipped * SAMPLES :]
        frames = min(sum(map(len, self._lips)) + CLIP - 1, len(samples) // SAMPLES)
        if frames <= MEDIAN // 2:  # the median filter would see more of its zeros than boxes
            return self.no_result()
        windows = frames - CLIP  # one less than there could be, as in the reference
        score = sync_score(torch.cat(self._lips)[:windows], self._audio_embeddings(samples, windows))
        return {"lse_c": score.lse_c, "lse_d": score.lse_d, "syncnet_offset": float(score.offset)}

    def _add(self, crop: Image) -> None:
        self._frames.append(crop)
        if len(self._frames) == LIP_BATCH + CLIP - 1:
            self._embed()

    @torch.inference_mode()
    def _embed(self) -> None:
        frames = torch.from_numpy(np.stack(self._frames)[..., ::-1].copy())  # BGR, as OpenCV reads files
        self._lips.append(self._network.lips(frames.permute(0, 3, 1, 2).float()))
        self._frames = self._frames[1 - CLIP :]

    @torch.inference_mode()
    def _audio_embeddings(self, samples: Array, windows: int) -> Tensor:
        sixteen_bit = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
        cepstra = torch.from_numpy(mfcc(sixteen_bit)).float()
        every = cepstra.unfold(0, MFCCS, MFCC_RATE)[:windows]  # (windows, 13, 20)
        return torch.cat([self._network.sound(part) for part in torch.split(every, SOUND_BATCH)])
