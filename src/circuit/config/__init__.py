"""Validated settings, and the plan of artifacts that follows from them."""
