"""What every Parley process shares.

``ports`` (what the rest of the code asks of a broker), ``amqp/`` (the only importer of aio_pika), ``worker`` and
``retry`` (one loop for every stage), ``lifecycle`` (start, ready, drain, stop), ``config``, ``health``,
``telemetry/`` and ``store/``.
"""
