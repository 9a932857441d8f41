"""birth_windows: being written."""
