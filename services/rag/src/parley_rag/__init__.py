"""parley_rag."""
