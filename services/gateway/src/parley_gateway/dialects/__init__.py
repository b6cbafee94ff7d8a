"""The documented dialects: each file translates one system's frames into the same few commands and events.

``dialect`` names what a dialect is, ``socket`` serves one on a socket, ``line`` keeps its questions in order, ``talk``
asks them. A new dialect is one new file and one line in ``registry``.
"""
