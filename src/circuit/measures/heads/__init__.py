"""Attention heads: where they look, what they read there, which of them is followed."""
