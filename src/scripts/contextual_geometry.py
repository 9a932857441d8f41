"""contextual_geometry: being written."""
