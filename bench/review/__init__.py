"""How well the embedded assessor judges clauses, on a labelled set. ``python -m bench.review``."""
