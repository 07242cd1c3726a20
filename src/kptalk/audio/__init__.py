"""Speech to features: mel spectrogram, one mel window a video frame, and the encoder that reads the windows."""
