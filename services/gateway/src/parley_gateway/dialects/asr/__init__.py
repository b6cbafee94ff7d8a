"""The pure parts of the realtime ASR dialect: ``frames`` in and out, the ``machine`` between them, and what a question
is: ``questions``, with ``chinese`` and ``english``.
"""
