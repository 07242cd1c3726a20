"""Writes a photo to try kptalk on: Eileen Collins, NASA 2000, public domain, from scikit-image.

python examples/astronaut.py astronaut.png
"""

import sys

from PIL import Image
from skimage.data import astronaut

Image.fromarray(astronaut()).save(sys.argv[1])
