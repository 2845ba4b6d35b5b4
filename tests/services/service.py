"""A service whose CORS is answered by a library. It prints its port, and says which trace it was called with.

service.py LIBRARY ORIGIN NAMES

LIBRARY is starlette, flask or aiohttp, ORIGIN who is let in, and NAMES the request headers that it may send: a list, or
* for whatever is asked for.
"""

import asyncio
import socket
import sys

TRACE = ("sentry-trace", "baggage")


def listening():
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    return server


def starlette(origin, names):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def api(request):
        return JSONResponse({name: request.headers.get(name) for name in TRACE})

    cors = Middleware(
        CORSMiddleware, allow_origins=[origin], allow_methods=["PUT"], allow_headers=names, allow_credentials=True
    )
    app = Starlette(routes=[Route("/api", api, methods=["PUT"])], middleware=[cors])
    config = uvicorn.Config(app, log_level="warning")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening()]))


def flask(origin, names):
    from flask import Flask, jsonify, request
    from flask_cors import CORS
    from waitress import serve

    app = Flask(__name__)
    CORS(app, origins=[origin], methods=["PUT"], allow_headers=names, supports_credentials=True)

    @app.put("/api")
    def api():
        return jsonify({name: request.headers.get(name) for name in TRACE})

    serve(app, sockets=[listening()], _quiet=True)


def aiohttp(origin, names):
    import aiohttp_cors
    from aiohttp import web

    async def api(request):
        return web.json_response({name: request.headers.get(name) for name in TRACE})

    app = web.Application()
    names = "*" if names == ["*"] else names
    options = aiohttp_cors.ResourceOptions(allow_methods=["PUT"], allow_headers=names, allow_credentials=True)
    cors = aiohttp_cors.setup(app, defaults={origin: options})
    cors.add(app.router.add_put("/api", api))
    web.run_app(app, sock=listening(), print=None)


library, origin, names = sys.argv[1:]
{"starlette": starlette, "flask": flask, "aiohttp": aiohttp}[library](origin, names.split(","))
