"""What the numbers are called that path effects leave and the circuit is made of."""

TOTAL, PATH, WHOLE, APPEARS = "total", "path", "whole", "appears"
