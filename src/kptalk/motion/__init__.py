"""Speech features become motion: motion space, denoiser, diffusion, windows, control, smoothing."""
