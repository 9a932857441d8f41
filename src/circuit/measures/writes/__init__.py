"""What components write: which measure of a write to trust, and what a write does later on."""
