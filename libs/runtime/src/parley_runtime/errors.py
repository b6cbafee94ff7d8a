"""The error tree. Each error says whether trying again may help and carries the code that a user sees.

ParleyError
├── Retryable                   another attempt may succeed
│   ├── Unavailable             broker, store or engine cannot be reached
│   │   └── StoreAway           the store; waiting for it uses up no try
│   ├── OutcomeUnknown          a publish whose confirm did not come
│   ├── Refused                 a full queue or a broker's nack
│   ├── Unroutable              no queue took the message
│   ├── Overloaded              admission is closed; ``retry_after_s`` says for how long
│   └── EngineError             the engine failed at this attempt
└── Fatal                       the same attempt will fail again
    ├── ConfigError             settings; the process ends with exit code 78
    ├── Invalid                 input that no attempt can use
    ├── NotFound                a name that does not exist
    ├── Conflict                the name exists with other content
    ├── Expired                 the deadline has passed
    └── EngineRejected          the engine refused the request itself
        └── EngineTimeout       the engine took too long
"""

from typing import ClassVar

from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode

EX_CONFIG = 78
"""Exit code of a process that cannot start because of its settings (sysexits.h); a supervisor must not restart it."""


class ParleyError(Exception):
    """Base. The message is written for the person who reads it and says what to do; it never holds user text."""

    code: ClassVar[FaultCode] = FaultCode.FAILED
    retryable: ClassVar[bool] = False

    def fault(self) -> Fault:
        """This error as clients see it."""
        return Fault(self.code.value, str(self), self.retryable)


class Retryable(ParleyError):
    """Another attempt may succeed."""

    code = FaultCode.UNAVAILABLE
    retryable = True


class Unavailable(Retryable):
    """Broker, store or engine cannot be reached."""


class StoreAway(Unavailable):
    """The store cannot be reached, is locked, full or read-only: everybody's trouble, and no job's own fault."""


class OutcomeUnknown(Retryable):
    """A publish whose confirm did not come: it may be in the queue. Publish it ``again``."""


class Refused(Retryable):
    """A full queue or a broker's nack: the message is nowhere."""

    code = FaultCode.OVERLOADED


class Unroutable(Retryable):
    """No queue took the message."""


class Overloaded(Retryable):
    """Admission is closed."""

    code = FaultCode.OVERLOADED

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineError(Retryable):
    """The engine failed at this attempt. ``retry_after_s`` (0: not said) is the engine's own wish."""

    code = FaultCode.ENGINE_FAILED

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Fatal(ParleyError):
    """The same attempt will fail again."""


class ConfigError(Fatal):
    """Settings that cannot work; the message lists every bad one."""

    code = FaultCode.INVALID


class Invalid(Fatal):
    """Input that no attempt can use."""

    code = FaultCode.INVALID


class NotFound(Fatal):
    """A name that does not exist."""

    code = FaultCode.NOT_FOUND


class UnknownBase(NotFound):
    """A knowledge base that does not exist."""

    code = FaultCode.UNKNOWN_KB


class Conflict(Fatal):
    """The name exists with other content."""

    code = FaultCode.CONFLICT


class Expired(Fatal):
    """The deadline has passed."""

    code = FaultCode.EXPIRED


class EngineRejected(Fatal):
    """The engine refused the request itself: another attempt would be refused too."""

    code = FaultCode.ENGINE_FAILED


class EngineTimeout(EngineRejected):
    """The engine took too long. It is not asked again: whoever asked has waited enough."""

    code = FaultCode.ENGINE_TIMEOUT
