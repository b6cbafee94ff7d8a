"""Finding passages. ``ports``: what is promised; ``embedded``: the default engine; ``follower``: keeps it current."""

from parley_rag.retrieval.embedded import EmbeddedRetriever
from parley_rag.retrieval.follower import IndexFollower
from parley_rag.retrieval.ports import Query, Retriever

__all__ = ["EmbeddedRetriever", "IndexFollower", "Query", "Retriever"]
