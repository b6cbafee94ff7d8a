"""The listening stage: takes ``Listen`` leases and says what is heard.

``listener`` is the pure core of one stream: audio in, events out, the same wherever it begins at a boundary. ``intake``
decodes audio, ``endpoint`` tells speech from silence by what ``vad`` scores, ``engine`` is the protocol of recognisers
and ``engines/`` holds one file per engine (the only importers of vendor libraries). ``service`` holds leases, ``pool``
shares the CPU among streams, ``outgoing`` answers gateways, ``app`` is the composition root.
"""
