"""parley_inference."""
