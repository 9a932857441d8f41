"""Candidate routes: how they grow, and whether the loss pushes them."""
