"""Differentiable measures of a role: one family per file, one registry."""
