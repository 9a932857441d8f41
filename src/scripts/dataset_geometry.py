"""dataset_geometry: being written."""
