"""From raw videos to a model: prepare the videos, fit the motion space, train the networks."""

# Recipes, in the order in which a model is trained.
NAMES = ("facemesh", "audio", "lips", "motion", "a2l", "head", "syncnet")
SIZES = ("smoke", "embedded", "paper")  # of networks that have several
