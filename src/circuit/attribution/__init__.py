"""What built it: growth of scalars attributed to the parts of optimizer updates."""
