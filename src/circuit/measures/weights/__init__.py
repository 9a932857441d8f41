"""Weight matrices: singular values, their subspaces, patterns over training."""
