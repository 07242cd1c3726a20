"""Drawing motion on a portrait: one renderer a motion space."""
