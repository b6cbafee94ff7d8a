"""Documents to text, one module per format. Pure functions; ``pool`` runs them off the event loop."""

from parley_rag.documents.model import Block, BlockKind, Extracted, Limits, Section
from parley_rag.documents.registry import choose, extract

__all__ = ["Block", "BlockKind", "Extracted", "Limits", "Section", "choose", "extract"]
