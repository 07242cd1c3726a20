"""From raw videos to embedded weights: prepare, fit the motion space, train audio and motion."""
