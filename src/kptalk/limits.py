"""Frame rates that videos and motions may have; here, where neither options nor types load more for it."""

MIN_FPS, MAX_FPS = 1, 120
MAX_DENOMINATOR = 1001  # of a frame rate, that of 30000/1001; FFmpeg's rationals have 32 bits
