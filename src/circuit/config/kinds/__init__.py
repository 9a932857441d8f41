"""Settings of every kind of analysis, by what the kinds are about."""
