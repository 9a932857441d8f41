"""Experiments: edits of the forward pass, measured event by event beside their controls."""
