"""The circuit as a picture: what every node and every edge adds to the answer, over training."""
