"""A WebSocket service and its client.

websocket_peer.py serve               prints its port, and sends back what it gets until it is ended
websocket_peer.py talk PORT close     sends a message, prints what came back, and says goodbye
websocket_peer.py talk PORT vanish    the same, but the connection breaks without a word
"""

import asyncio
import sys

import websockets


async def echo(connection):
    try:
        async for message in connection:
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
    if end == "vanish":
        connection.transport.abort()
    else:
        await connection.close()


if __name__ == "__main__":
    asyncio.run({"serve": serve, "talk": talk}[sys.argv[1]](*sys.argv[2:]))
