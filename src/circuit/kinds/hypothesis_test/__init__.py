"""A circuit stated or found: whether it is enough, needed, special and minimal, and since when."""
