"""``uv run python -m bench.retrieval``: how well and how fast the embedded retriever finds.

The test is known-item search on three bilingual Debian books. What was tried on it, and what came of it:

- What opens a section counts more (``lead``): the largest gain by far, in both languages.
- Stemming, and a larger k1 with a lead (body counts saturate later): gain. k1 = 1.2 does as well in English only.
- Proximity: a small gain in English at 0.1; from 0.4 on it costs in both languages.
- Single Chinese characters beside pairs: no gain on titles, but a question of one character needs them.
- Whole identifiers beside their parts: no gain on titles; ``metapackage`` finds ``meta-package`` by them.
- English stop words removed from Chinese questions: a loss (``at`` is a command there); they stay.
- Dropped: a bonus for meeting more of the question (loss), feedback from the first results (loss in English).
"""
