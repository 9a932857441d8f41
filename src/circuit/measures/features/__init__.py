"""Dictionaries of features over checkpoints."""
