"""Edits of a running network, each beside its controls: patches, removals, subspaces, doses."""
