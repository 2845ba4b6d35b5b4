"""The service behind the gateway: an ordinary Flask app with the ordinary Sentry SDK.

It knows nothing of the gateway. `sentry_sdk.init` instruments Flask by itself, reads `SENTRY_DSN` from the environment
and continues the trace that the request's `sentry-trace` and `baggage` describe.
"""

import os
import time

import sentry_sdk
from flask import Flask, jsonify
from waitress import serve

sentry_sdk.init(
    # Every request becomes a trace: right on a desk, too much in production.
    traces_sample_rate=1.0,
)

app = Flask(__name__)

ITEMS = [
    {"id": 1, "name": "lantern"},
    {"id": 2, "name": "rope"},
]


@app.get("/api/items")
def items():
    # Stands for the work of a real service; the viewer draws nothing shorter than a millisecond.
    time.sleep(0.02)
    return jsonify(items=ITEMS)


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(os.environ.get("SERVICE_PORT", "8081")))
