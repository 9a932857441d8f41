"""Optimizers as sums of named components, the training loop, checkpoints and exact replay."""
