"""parley_runtime."""
