"""Small worlds whose answers are known, for docs and tests of what looks at features."""
