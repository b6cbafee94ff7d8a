"""parley_protocol."""
