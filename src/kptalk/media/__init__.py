"""Bytes to arrays and back: photos, speech and video. The only user of PyAV and Pillow."""
