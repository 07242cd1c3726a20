"""FID: how far the generated frames are from the real ones as a whole.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017: with
the means m and covariances S of the 2048 Inception features of all real and all generated frames,

    FID = |m_r - m_g|^2 + Tr(S_r + S_g - 2 (S_r S_g)^(1/2)).

It is one number of all clips together. The same network, resizing and covariances as torchmetrics'
``FrechetInceptionDistance(2048)``; the trace of the root is taken from factors of the covariances, which is stable
also for fewer frames than features. FID falls with the number of frames: compare only numbers of the same clips.
"""

from collections.abc import Sequence
from operator import is_
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kptalk.evaluate.metric import EVERY, AudioPair, FrameSample, NetworkMetric, specs
from kptalk.networks.inception import FEATURES, Inception, InceptionConfig
from kptalk.types import Image

MIN_FRAMES = 50  # frames measured, over all clips, below which the number means nothing
BATCH = 8  # pictures


class Gaussian:
    """Mean and covariance of a stream of features (N, D), in memory that does not grow with N where it is folded.

    Kept as the triangle R of a QR decomposition of the features with a column of ones before them: its first row holds
    the count and the mean, and the rest is a factor of the centred scatter.
    """

    def __init__(self, features: int) -> None:
        self.triangle = torch.zeros(0, features + 1, dtype=torch.float64)
        self.pending: list[Tensor] = []
        self.count = 0

    def add(self, features: Tensor) -> None:
        """Take in (n, D) features."""
        self.count += len(features)
        self.pending.append(features)

    def fold_many(self) -> None:
        """Fold what has come, where that is worth it."""
        if sum(map(len, self.pending)) >= self.triangle.shape[1] - 1:
            self._fold()

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and a factor (n, D), n <= D, whose product F^T F is the covariance, of N - 1 degrees of freedom."""
        self._fold()
        mean = self.triangle[0, 1:] / self.triangle[0, 0]
        return mean, self.triangle[1:, 1:] / (self.count - 1) ** 0.5

    def _fold(self) -> None:
        if self.pending:
            rows = torch.cat(self.pending).double()
            rows = torch.cat([torch.ones(len(rows), 1, dtype=torch.float64), rows], 1)
            self.triangle = torch.linalg.qr(torch.cat([self.triangle, rows]), mode="r").R
            self.pending.clear()


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet distance of two Gaussians of at least two samples each."""
    (mean_a, factor_a), (mean_b, factor_b) = a.moments(), b.moments()
    # (S_a S_b)^(1/2) has the trace of the singular values of F_a F_b^T.
    common = torch.linalg.svdvals(factor_a @ factor_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + factor_a.square().sum() + factor_b.square().sum() - 2 * common
    return max(0.0, float(distance))


class FidMetric(NetworkMetric):
    """FID of all clips, by the Inception network of torch-fidelity.

    NaN with fewer than 50 measured frames. Every fifth frame is measured: neighbours are nearly the same picture.
    """

    network, classes = "inception", (Inception, InceptionConfig)
    columns = specs("fid")

    def __init__(self, path: Path | None = None) -> None:
        self._forget_clips()
        super().__init__(path)

    def reset(self) -> None:
        self._generated.fold_many()
        self._real.fold_many()
        self._frames = 0
        self._waiting: list[tuple[Image, Image]] = []

    def update(self, generated: FrameSample, real: FrameSample) -> None:
        if self._frames % EVERY == 0:
            self._waiting.append((generated.image, real.image))
            if len(self._waiting) == BATCH:
                self._run_network()
        self._frames += 1

    def compute(self, audio: AudioPair) -> dict[str, float]:
        """NaN for a single clip; see ``compute_overall``."""
        self._run_network()
        return self.no_result()

    def give(self) -> tuple[list[Tensor], list[Tensor]]:
        parts = self._generated.pending, self._real.pending
        self._forget_clips()
        return parts

    def take(self, part: tuple[list[Tensor], list[Tensor]]) -> None:
        for gaussian, batches in zip((self._generated, self._real), part, strict=True):
            for batch in batches:
                gaussian.add(batch)
            gaussian.fold_many()

    def compute_overall(self) -> dict[str, float]:
        enough = min(self._real.count, self._generated.count) >= MIN_FRAMES
        distance = frechet_distance(self._generated, self._real) if enough else float("nan")
        self._forget_clips()
        return {"fid": distance}

    def _run_network(self) -> None:
        """Add the waiting frames, all of one size on either side, to the sums of all clips."""
        if self._waiting:
            generated, real = zip(*self._waiting, strict=True)
            features = self._features(real)
            self._real.add(features)
            # The real videos are measured as a method too: what was seen already is not looked at again.
            self._generated.add(features if all(map(is_, generated, real)) else self._features(generated))
            self._waiting.clear()

    def _features(self, images: Sequence[Image]) -> Tensor:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            features: Tensor = self._network(batch)
        return features

    def _forget_clips(self) -> None:
        self._generated, self._real = Gaussian(FEATURES), Gaussian(FEATURES)
