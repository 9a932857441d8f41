"""weight_svd: being written."""
