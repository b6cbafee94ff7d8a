"""Errors that end `parley up`, worded for the person at the terminal."""


class UpError(Exception):
    """Something the person at the terminal can mend: the message says what happened and what to do, without secrets."""

    exit_code = 1


class ConfigurationError(UpError):
    """A setting is wrong: nothing was started, or what was started has been stopped again."""

    exit_code = 2


class BrokerUnreachable(UpError):
    """No TCP connection, or the peer fell silent before the login was decided."""


class BrokerRefused(UpError):
    """The broker answered and turned the login or the virtual host down."""


class NotABroker(UpError):
    """Something listens on the port, but it does not speak AMQP 0-9-1."""
