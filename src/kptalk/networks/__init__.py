"""The networks: plain modules that import torch alone; parameter names are those of the checkpoints."""
