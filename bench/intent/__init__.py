"""How well questions are told apart: measured data, knowledge base, small talk. ``python -m bench.intent``."""
