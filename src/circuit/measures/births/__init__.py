"""When curves over checkpoints rise, and the windows they rise in."""
