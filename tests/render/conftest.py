"""A few real portraits, prepared once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from media_shared import portrait_of

from kptalk.face.framing import crop_framing
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.render.mesh.renderer import MeshRenderer, PreparedMesh

CLOSED = ("grid_flrwp_1@0", "grid_msbia_1@0", "grid_s2_1@0")
OPEN = ("astronaut", "grid_mlbax_1@46")
TURNED = "liveportrait_s9"

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def renderer(space: FaceMeshSpace) -> MeshRenderer:
    return MeshRenderer(space)


@pytest.fixture(scope="session")
def photos(renderer: MeshRenderer) -> dict[str, PreparedMesh]:
    return {name: renderer.prepare(crop_framing(portrait_of(name), 384).portrait) for name in CLOSED + OPEN}


@pytest.fixture(scope="session")
def turned(renderer: MeshRenderer) -> PreparedMesh:
    """A head that is turned by more than 12 degrees in the photo."""
    return renderer.prepare(crop_framing(portrait_of(TURNED), 384).portrait)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
