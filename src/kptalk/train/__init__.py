"""From raw videos to a model: prepare the videos, fit the motion space, train the networks."""

NAMES = ("facemesh", "audio", "lips", "motion", "a2l", "syncnet")  # recipes, in the order in which a model is trained
SIZES = ("smoke", "embedded", "paper")  # of networks that have several
