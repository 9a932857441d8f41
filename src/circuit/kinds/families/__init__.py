"""Families of features that agree: when they fire, when they are useful, what feeds them."""
