"""Logits as sums over paths through the model."""
