"""The motion space ``facemesh``: reader, regions, generator."""
