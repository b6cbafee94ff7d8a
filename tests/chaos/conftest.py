"""Brokers for the fault matrix, and what a failed run leaves behind."""
