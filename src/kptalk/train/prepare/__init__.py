"""Raw videos to a dataset: cut into scenes, every face followed, brought into step, or left out with a reason."""
