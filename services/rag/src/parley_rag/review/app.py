"""Puts contract review together for the rag process."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from parley_protocol.routes import topology
from parley_rag.config import RagSettings
from parley_rag.reader import DocumentReader
from parley_rag.retrieval import IndexFollower, Retriever
from parley_rag.review.ending import Endings
from parley_rag.review.post import Post
from parley_rag.review.registry import choose
from parley_rag.review.stages import ClauseAssessor, Parts, ReviewIntake, ReviewReader
from parley_rag.review.sweeper import ReviewSweeper
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Broker, Link
from parley_runtime.process import Process
from parley_runtime.store.ports import Store


@dataclass(frozen=True, slots=True)
class Reviews:
    """The parts that a rag process runs; consumers are not started yet."""

    consumers: dict[str, ReviewIntake]
    endings: Endings
    sweeper: ReviewSweeper


def open_reviews(
    process: Process,
    stack: AsyncExitStack,
    settings: RagSettings,
    *,
    broker: Broker,
    store: Store,
    control: ControlPlane,
    link: Link,
    found: tuple[Retriever, IndexFollower, DocumentReader],
) -> Reviews:
    """Raises ConfigError where the assessor of the settings cannot work."""
    judge, engine = choose(settings.review)
    stack.push_async_callback(judge.close)
    process.engines.append(engine)
    post = Post(link, control)
    endings = Endings(store.reviews, post.tell)
    retriever, follower, reader = found
    parts = Parts(
        store=store,
        retriever=retriever,
        follower=follower,
        reader=reader,
        judge=judge,
        post=post,
        endings=endings,
        settings=settings.review,
        intake=settings.intake,
        declared=topology(settings.common.admission),
    )
    consumers: dict[str, ReviewIntake] = {
        "review": ReviewReader(broker, parts),
        "assess": ClauseAssessor(broker, parts),
    }
    return Reviews(consumers, endings, ReviewSweeper(store.reviews, post, endings, settings.review))
