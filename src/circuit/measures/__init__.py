"""What a state looks like: behaviour, heads and attention at a checkpoint."""
