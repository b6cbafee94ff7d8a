"""Parley's wire types: what clients, gateways and workers say to each other, and nothing else.

Reading order: ``ids`` (names), ``faults`` (codes), ``readings`` (measured data), ``events`` (worker to gateway),
``work`` (jobs through the quorum queues), ``audio`` (streams of audio and sentences to be spoken), ``speech`` (its
binary frame), ``reviews`` (contract reviews), ``contact`` (messages of the contact chat),
``tutors`` (tutors and sessions), ``control`` (broadcasts and direct calls), ``client`` (frames on the socket),
``routes`` (exchanges and queues), ``position`` (the resume cursor), ``codec`` (the only encoders and decoders),
``installation`` (what lies in its folder).

Evolution rules, for every type here:

1. A new field has a default; array-like types only grow at the end.
2. A field is never renamed, retyped or given a new meaning; it is left unused and a new one is added.
3. A new kind may be added to a union once every reader that meets it has been deployed; readers count and drop
   kinds they do not know, and never guess.
4. Unknown fields are ignored, so old readers accept new writers.

``tests/golden`` freezes the bytes of one message per kind; a change there is a change of the wire.
"""
