"""Whether a finding repeats over seeds."""
