"""A WebSocket service and its client.

websocket_peer.py serve               prints its port, and sends back what it gets until it is ended
websocket_peer.py talk PORT close     sends a message, prints what came back, and says goodbye
websocket_peer.py talk PORT vanish    the same, but the connection breaks without a word
websocket_peer.py talk PORT closed    the same, but it is the service that says goodbye
websocket_peer.py talk PORT lost      the same, but it is the service that breaks the connection
websocket_peer.py talk PORT dies      the same, but the service as a whole is gone at once
"""

import asyncio
import os
import sys

import websockets


async def echo(connection):
    try:
        async for message in connection:
            match message:
                case "closed":
                    await connection.close()
                case "lost":
                    connection.transport.abort()
                case "dies":
                    os._exit(1)
                case _:
                    await connection.send(message)
    except websockets.ConnectionClosed:
        pass


async def serve():
    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


async def talk(port, end):
    connection = await websockets.connect(f"ws://127.0.0.1:{port}/socket", proxy=None)
    await connection.send("hello")
    print(await connection.recv(), flush=True)
    match end:
        case "close":
            await connection.close()
        case "vanish":
            connection.transport.abort()
        case _:
            await connection.send(end)
            await connection.wait_closed()


if __name__ == "__main__":
    asyncio.run({"serve": serve, "talk": talk}[sys.argv[1]](*sys.argv[2:]))
