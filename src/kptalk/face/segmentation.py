"""Which pixels of a picture show a person: MediaPipe's selfie segmentation."""

import cv2
import numpy as np
import torch

from kptalk.face.crop import as_rgb, as_tensor, whole
from kptalk.face.models import load_network
from kptalk.networks.selfie import SIDE, SelfieSegmentation
from kptalk.types import Array, Image


def segment_person(image: Image) -> Array:
    """Probability of a person, (H, W) float32, for a picture (H, W, 3) uint8 RGB.

    Raises:
        ImageError: it is no picture.
    """
    image = as_rgb(image)
    height, width = image.shape[:2]
    if not image.size:
        return np.zeros((height, width), np.float32)
    with torch.inference_mode():
        mask = load_network(SelfieSegmentation)(as_tensor([whole(image).cut(image, SIDE)]) / 255)
    return np.asarray(cv2.resize(mask[0, 0].numpy(), (width, height)), np.float32)
