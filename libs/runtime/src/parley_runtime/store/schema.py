"""The tables as the statements see them. ``migrations`` makes them; a test compares the two.

Texts that people or documents supply (questions, answers, passages, causes) are kept as JSON: it holds every code
point, also U+0000, which PostgreSQL's text refuses. Names are compared byte by byte in both databases.
"""

from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

turns = Table(
    "turns",
    metadata,
    Column("id", BigInteger, primary_key=True),  # grows with each row: the order of a session's turns
    Column("tenant", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("turn", Text, nullable=False),
    Column("submission", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("base", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("answered", Integer, nullable=False),  # 1: part of the conversation
    Column("question", Text, nullable=False),  # JSON string
    Column("text", Text),  # JSON string; NULL while open
    Column("outcome", Text),  # JSON of turns.Outcome; NULL while open
    Column("opened_at", Float, nullable=False),  # both by the database's clock
    Column("closed_at", Float, nullable=False),
    Column("heard", BigInteger),  # code points of the text that were heard, where speech was interrupted; else NULL
)

dead = Table(
    "dead",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False),
    Column("info", Text, nullable=False),  # JSON of DeadInfo without its body
    Column("body", LargeBinary, nullable=False),
    Column("parked_at", Text, nullable=False),  # by the database's clock, in UTC; such texts sort by time
)

documents = Table(
    "documents",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("kb", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("title", Text, nullable=False),  # JSON string
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("passages", BigInteger, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("removed", Integer, nullable=False),  # 1: a tombstone, kept so that readers of the log hear of it
    Column("seq", BigInteger, nullable=False),  # of the document's last change
)

passages = Table(
    "passages",
    metadata,
    Column("document", BigInteger, primary_key=True),
    Column("body", Text, nullable=False),  # JSON array of StoredPassage: written and read as a whole
)

contact = Table(
    "contact",
    metadata,
    Column("id", BigInteger, primary_key=True),  # out of ``sequence``: visible in its order
    Column("tenant", Text, nullable=False),
    Column("client", Text, nullable=False),  # empty: of the owner to everybody
    Column("sender", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),  # JSON string
    Column("user_agent", Text, nullable=False),  # JSON string
    Column("kept_at", Text, nullable=False),  # by the database's clock, in UTC; such texts sort by time
)

readings = Table(
    "readings",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("sensor", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),  # microseconds since 1970, UTC
    Column("value", Text, nullable=False),  # the digits as they were given
    Column("number", Float, nullable=False),
    Column("unit", Text, nullable=False),
    Column("stored_at", Float, nullable=False),  # by the database's clock
)

series = Table(
    "series",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("sensor", Text, primary_key=True),
    Column("unit", Text, nullable=False),  # of the newest reading
    Column("newest", BigInteger, nullable=False),
    Column("stored_at", Float, nullable=False),
)

tutors = Table(
    "tutors",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("admin", Text, nullable=False),
    Column("name", Text, nullable=False),  # JSON string
    Column("created_at", Text, nullable=False),
)

tutor_sessions = Table(
    "tutor_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("tutor", BigInteger, nullable=False),
    Column("student", Text, nullable=False),  # JSON string
    Column("kb", Text),
    Column("admin", Text, nullable=False),  # empty: not begun through the web side
    Column("state", Text, nullable=False),
    Column("timeout_s", Float, nullable=False),
    Column("created_at", Float, nullable=False),  # all times by the database's clock
    Column("seen_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),  # 0 while active
)

sequence = Table(
    "sequence",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", BigInteger, primary_key=True),  # given out by the sequence "reviews", or asked for
    Column("tenant", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("ended", Integer, nullable=False),  # 1: completed or failed
    Column("digest", Text, nullable=False),
    Column("about", Text, nullable=False),  # JSON of reviews.About
    Column("error", Text, nullable=False),  # JSON string
    Column("clauses", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("summary", Text),  # JSON of ReviewSummary; NULL until completed
    Column("created_at", Float, nullable=False),  # all three by the database's clock
    Column("updated_at", Float, nullable=False),
    Column("heard_at", Float, nullable=False),
)

review_texts = Table(
    "review_texts",
    metadata,
    Column("task", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),  # the document; empty once it has been cut
    Column("body", Text),  # JSON string: the contract's text
    Column("facts", Text, nullable=False),  # JSON string
)

review_clauses = Table(
    "review_clauses",
    metadata,
    Column("task", BigInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("starts", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # JSON string
    Column("result", Text),  # JSON of ClauseResult; NULL until assessed
)

threads = Table(
    "threads",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("engine", Text, primary_key=True),
    Column("thread", Text, nullable=False),
    Column("kept_at", Float, nullable=False),  # by the database's clock
)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
)
