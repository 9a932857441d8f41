"""Which parts of the query and the key make a head's match, since when, and by which cause."""
