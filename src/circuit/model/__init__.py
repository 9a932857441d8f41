"""The decoder as a pure function of one flat vector, its layout, its named sites and the tap."""
