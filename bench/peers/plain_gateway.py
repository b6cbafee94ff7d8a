"""What one writes in an afternoon: Starlette sockets, one aio-pika queue per gateway, one message per event."""

import argparse
import contextlib
import json
import uuid
from collections.abc import AsyncIterator

import aio_pika
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


class Gateway:
    def __init__(self, amqp: str) -> None:
        self.amqp = amqp
        self.sockets: dict[str, WebSocket] = {}

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        connection = await aio_pika.connect_robust(self.amqp)
        async with connection:
            self.channel = await connection.channel()
            await self.channel.declare_queue("bench.plain.first", durable=True)
            consuming = await connection.channel()
            await consuming.set_qos(prefetch_count=300)
            self.queue = await consuming.declare_queue("bench.plain.gateway", auto_delete=True)
            await self.queue.consume(self.on_event)
            yield

    async def on_event(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        async with message.process():
            event = json.loads(message.body)
            socket = self.sockets.get(event.pop("sid"))
            if socket is not None:
                with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                    await socket.send_text(json.dumps(event))

    async def endpoint(self, socket: WebSocket) -> None:
        await socket.accept()
        sid = uuid.uuid4().hex
        self.sockets[sid] = socket
        try:
            await socket.send_text(json.dumps({"sid": sid}))
            while True:
                data = json.loads(await socket.receive_text())
                body = json.dumps({"sid": sid, **data}).encode()
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await self.channel.default_exchange.publish(message, "bench.plain.first")
        except WebSocketDisconnect:
            pass
        finally:
            del self.sockets[sid]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--amqp", required=True)
    options = parser.parse_args()
    gateway = Gateway(options.amqp)
    app = Starlette(routes=[WebSocketRoute("/ws", gateway.endpoint)], lifespan=gateway.lifespan)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        log_level="warning",
        ws_per_message_deflate=False,
        backlog=2048,
    )


if __name__ == "__main__":
    main()
