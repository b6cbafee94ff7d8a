"""python-socketio behind uvicorn, with its aio-pika client manager: its documented way to scale out over RabbitMQ.

``ask`` is published to a work queue; workers answer with ``emit(room=sid)`` through the manager.
"""

import argparse
import json

import aio_pika
import socketio
import uvicorn


def build(amqp: str) -> socketio.ASGIApp:
    manager = socketio.AsyncAioPikaManager(amqp)
    server = socketio.AsyncServer(
        async_mode="asgi", client_manager=manager, ping_interval=25, ping_timeout=20, max_http_buffer_size=1_000_000
    )
    state: dict[str, aio_pika.abc.AbstractChannel] = {}

    async def channel() -> aio_pika.abc.AbstractChannel:
        if "channel" not in state:
            connection = await aio_pika.connect_robust(amqp)
            state["channel"] = await connection.channel()
            await state["channel"].declare_queue("bench.sio.first", durable=True)
        return state["channel"]

    @server.event
    async def ask(sid: str, data: dict[str, object]) -> None:
        body = json.dumps({"sid": sid, **data}).encode()
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await (await channel()).default_exchange.publish(message, "bench.sio.first")

    return socketio.ASGIApp(server)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--amqp", required=True)
    options = parser.parse_args()
    uvicorn.run(
        build(options.amqp),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        log_level="warning",
        ws_per_message_deflate=False,
        backlog=2048,
    )


if __name__ == "__main__":
    main()
