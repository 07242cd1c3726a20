"""Weights: files that say what they are, the ones shipped in the package, and the official ones."""
