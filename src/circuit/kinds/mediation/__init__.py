"""Through which later inputs components act: path effects that sum to the total effect."""
