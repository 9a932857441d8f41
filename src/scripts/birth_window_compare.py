"""birth_window_compare: being written."""
