"""Small worlds whose truth is known: what tests and docs compare findings with."""
