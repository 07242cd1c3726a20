"""The motion space ``liveportrait``: reader, regions, generator."""
