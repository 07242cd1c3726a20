"""Speech to features: mel spectrogram and one mel window a video frame."""
