"""The networks: plain modules that need torch alone; their parameters have the checkpoints' names."""
