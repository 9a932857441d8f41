"""Where a state tells the value to be answered, when, and in how many directions."""
