"""Checkpoints over training: behaviour, the residual stream, components, births of all three."""
