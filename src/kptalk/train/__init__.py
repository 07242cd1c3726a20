"""From raw videos to a model: prepare the videos, fit the motion space, train the networks."""

NAMES = ("facemesh", "audio", "lips", "motion", "a2l", "head", "vae", "l2v", "syncnet")  # as they are trained
CONFIGS = ("smoke", "latent-smoke", "embedded", "paper")  # of recipes that have several
