"""``python -m parley_rag.child``: prepares one document read from stdin, under limits on memory and processor time.

A hostile PDF or archive can at worst end this process. Nothing but the outcome is written to stdout.
"""

import contextlib
import io
import resource
import sys

import msgspec

from parley_rag.ingest import Outcome, Refused, Request, prepare
from parley_runtime.errors import Invalid


def main(memory: int, seconds: int) -> None:
    """``memory``: bytes of address space; ``seconds``: of processor time."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.msgpack.encode(_outcome(request)))


def _outcome(request: Request) -> Outcome:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return prepare(request)
    except Invalid as error:
        return Refused(str(error))
    except (MemoryError, RecursionError):
        return Refused("reading the document needs more memory than allowed; split it")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
