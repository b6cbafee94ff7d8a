"""What a caller of the client may have to handle.

ClientError
├── Disconnected     the server cannot be reached, or sent us away for good
├── TurnRefused      the server did not take a turn; ``code``, ``retryable`` and ``retry_after_s`` say more
├── TurnLost         the end of a turn did not come; it may have ended, or end later, on the server
├── ApiError         an HTTP request was refused
└── ClientClosed     the client was closed by its owner
"""


class ClientError(Exception):
    """Base; the message says what to do."""

    retryable = False


class Disconnected(ClientError):
    """No server within the time allowed, or a close code that forbids coming back (``code``; 0 where there is none)."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = code == 0


class TurnRefused(ClientError):
    """The server's ``error`` frame for a turn. ``retry_after_s`` is 0 where the server names no time."""

    def __init__(self, code: str, message: str, *, retryable: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class TurnLost(ClientError):
    """The end of a turn will not be waited for any longer. Asking it again under the same id and session is safe."""

    retryable = True


class ApiError(ClientError):
    """An HTTP request that was refused; ``status`` is the HTTP status, 0 where no answer came."""

    def __init__(self, status: int, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retryable = retryable


class ClientClosed(ClientError):
    """The client was closed while the call was waiting."""
