"""Figures that are none of the five shapes, drawn by hand."""
