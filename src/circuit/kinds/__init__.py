"""Kinds of analysis: a folder each, whose settings.py says what a block of YAML may hold."""
