"""The systems that weights make up: each has its motion space, its renderer, and its way from speech to motion."""
