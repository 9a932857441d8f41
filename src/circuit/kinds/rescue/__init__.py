"""What the answer lacks without a source: where a clean state or write brings it back."""
