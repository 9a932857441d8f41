"""How much of behaviour the measured routes explain."""
