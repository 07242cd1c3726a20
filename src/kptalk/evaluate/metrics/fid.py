"""FID: how far the generated frames are from the real ones as a whole.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017: with
the means m and covariances S of the 2048 Inception features of all real and all generated frames,

    FID = |m_r - m_g|^2 + Tr(S_r + S_g - 2 (S_r S_g)^(1/2)).

It is one number of all clips together. The same network, resizing and covariances as torchmetrics'
``FrechetInceptionDistance(2048)``; the trace of the root is taken from factors of the covariances, which is stable
also for fewer frames than features. FID falls with the number of frames: compare only numbers of the same clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kptalk.evaluate.metric import Column, Heard, Image, Judge, Sight
from kptalk.files import sha256
from kptalk.networks.inception import FEATURES, Inception, InceptionConfig
from kptalk.weights.registry import official_path
from kptalk.weights.store import load_model

EVERY = 5  # frames, from each clip's first one on: neighbours are nearly the same picture
FEWEST = 50  # frames measured, over all clips, below which the number means nothing
BATCH = 8  # pictures


class Gaussian:
    """Mean and covariance of a stream of features (N, D), in memory that does not grow with N.

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
        self.pending.append(features.double())
        if sum(map(len, self.pending)) >= features.shape[1]:
            self._fold()

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and a factor (n, D), n <= D, whose product F^T F is the covariance, of N - 1 degrees of freedom."""
        self._fold()
        mean = self.triangle[0, 1:] / self.triangle[0, 0]
        return mean, self.triangle[1:, 1:] / (self.count - 1) ** 0.5

    def _fold(self) -> None:
        if self.pending:
            rows = torch.cat(self.pending)
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


class FidJudge(Judge):
    """FID of all clips, by Inception weights from a local file.

    Args:
        path: the converted file; None: the one that ``kptalk weights pull inception`` made.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """

    columns = (
        Column(
            "fid",
            "FID",
            "",
            "lower",
            "Frechet distance of Inception features, generated against real frames, all clips together "
            f"(Heusel et al. 2017), every {EVERY}th frame, {FEWEST} at least",
        ),
    )

    def __init__(self, path: Path | None = None) -> None:
        path = official_path("inception") if path is None else path
        self._network = load_model(path, Inception, InceptionConfig)
        self._sha256 = sha256(path)
        self._forget()

    def start(self) -> FidMeter:
        """A meter for the next clip; what it sees is added to all clips' sums."""
        return FidMeter(self)

    def summary(self) -> Mapping[str, float]:
        """``fid`` of all clips since the last call; NaN with fewer than 50 measured frames."""
        enough = min(self._real.count, self._generated.count) >= FEWEST
        distance = frechet_distance(self._generated, self._real) if enough else float("nan")
        self._forget()
        return {"fid": distance}

    def weights(self) -> Mapping[str, str]:
        """The network's sha256."""
        return {"inception": self._sha256}

    def collect(self, generated: list[Image], real: list[Image]) -> None:
        """Take in pictures (H, W, 3) uint8 RGB, all of one size on either side."""
        features = self._features(real)
        self._real.add(features)
        # The real videos are judged as a method too: what was seen already is not looked at again.
        self._generated.add(features if all(map(is_, generated, real)) else self._features(generated))

    def _features(self, images: list[Image]) -> Tensor:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            features: Tensor = self._network(batch)
        return features

    def _forget(self) -> None:
        self._generated, self._real = Gaussian(FEATURES), Gaussian(FEATURES)


class FidMeter:
    """Hands every fifth frame of one clip to the judge, in batches."""

    def __init__(self, judge: FidJudge) -> None:
        self._judge = judge
        self._frames = 0
        self._waiting: list[tuple[Image, Image]] = []

    def add(self, generated: Sight, real: Sight) -> None:
        """Look at the next frame."""
        if self._frames % EVERY == 0:
            self._waiting.append((generated.image, real.image))
            if len(self._waiting) == BATCH:
                self._flush()
        self._frames += 1

    def result(self, heard: Heard) -> Mapping[str, float]:
        """``fid`` is NaN for a single clip; see the judge's summary."""
        self._flush()
        return {"fid": float("nan")}

    def _flush(self) -> None:
        if self._waiting:
            generated, real = zip(*self._waiting, strict=True)
            self._judge.collect(list(generated), list(real))
            self._waiting.clear()
