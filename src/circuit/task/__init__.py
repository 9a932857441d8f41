"""The symbolic world: latest-write key-value streams, their splits, read events and pairs."""
