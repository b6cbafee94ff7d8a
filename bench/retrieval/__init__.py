"""``uv run python -m bench.retrieval``: how well and how fast the embedded retriever finds."""
