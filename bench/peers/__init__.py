"""The peers: python-socketio with its aio-pika manager, and a plain Starlette and aio-pika gateway."""
