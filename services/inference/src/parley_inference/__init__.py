"""The generation stage: takes ``Generate`` jobs and streams answers.

``engine`` is the protocol, ``engines/`` holds one file per engine (the only importers of vendor libraries),
``registry`` lists them, ``choose`` picks one, ``handler`` turns a job into an answer, ``app`` is the composition root.
"""
