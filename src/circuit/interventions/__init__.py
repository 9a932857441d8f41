"""Edits of the forward pass and what they do to behaviour."""
