"""The renderer of landmark-guided diffusion (L2V): a denoiser draws the face, square by square."""
