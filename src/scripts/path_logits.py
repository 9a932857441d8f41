"""path_logits: being written."""
