"""Bytes to arrays and back: photos, speech and video. The only user of PyAV and Pillow."""

from kptalk.media.audio import Speech
from kptalk.media.clip import Clip, probe, read_frames
from kptalk.media.encoder import VideoWriter, check_output
from kptalk.media.image import read_image

__all__ = ["Clip", "Speech", "VideoWriter", "check_output", "probe", "read_frames", "read_image"]
