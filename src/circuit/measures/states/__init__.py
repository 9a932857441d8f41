"""Groups of contextual states, and the subspaces that see them."""
