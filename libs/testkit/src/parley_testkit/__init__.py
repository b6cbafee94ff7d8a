"""parley_testkit."""
