"""Neurons that serve several candidates, one, or one against another, and what they do."""
