"""The parts behind :mod:`circuit.artifacts`; import from there."""
