"""Faults while somebody talks hands free."""
