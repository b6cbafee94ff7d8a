"""The OpenAI Realtime protocol at ``/v1/realtime``: the official clients work unchanged.

``events``, ``config`` and ``items`` are what a client says, ``server`` is what it is told; ``conversation``,
``response`` and ``machine`` decide, without I/O; ``socket`` is the shell.
"""
