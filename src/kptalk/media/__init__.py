"""Bytes to arrays and back: photos, speech and video. The only user of PyAV and Pillow."""

from kptalk.media.audio import Speech
from kptalk.media.clip import Clip, probe, read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.image import read_image
from kptalk.media.sink import FileSink

__all__ = ["Clip", "FileSink", "Speech", "VideoWriter", "probe", "read_frames", "read_image"]
