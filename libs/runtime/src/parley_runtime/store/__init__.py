"""The store: conversations, dead letters, knowledge bases and measured data on SQLite or PostgreSQL.

``ports`` says what is promised, ``engine`` opens a store, ``schema`` and ``migrations`` say what lies on disk.
Statements are written and compiled with SQLAlchemy Core, once; they run on the drivers directly (``database``).
"""

from parley_runtime.store.engine import StoreOptions, open_store

__all__ = ["StoreOptions", "open_store"]
