"""A service in Python with Sentry's SDK. It prints its port, and says what headers of the trace it was called with. A
request with `?next=<address>` calls that one in turn:

    service.py ORIGIN LIFECYCLE

LIFECYCLE is `static`, for transactions, or `stream`, for streamed spans.
"""

import sys

import requests
import sentry_sdk
from flask import Flask, jsonify, request
from waitress.server import create_server

origin, lifecycle = sys.argv[1:]
sentry_sdk.init(
    traces_sample_rate=1.0,
    trace_lifecycle=lifecycle,
    # Only so that a test can read it.
    _experiments={"transport_compression_level": 0},
)

app = Flask(__name__)


@app.after_request
def let_the_page_in(response):
    """As a service writes it that has never heard of Sentry."""
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Headers"] = "content-type"
    response.headers["Access-Control-Allow-Methods"] = "PUT"
    return response


@app.put("/<path:path>")
def answer(path):
    told = {name: request.headers.get(name) for name in ("sentry-trace", "baggage")}
    if following := request.args.get("next"):
        told["next"] = requests.put(following, timeout=10).json()
    return jsonify(told)


server = create_server(app, host="127.0.0.1", port=0)
print(server.effective_port, flush=True)
server.run()
