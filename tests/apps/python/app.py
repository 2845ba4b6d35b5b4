"""The backend of the scene: an ordinary Flask app with the ordinary Sentry SDK.

It knows nothing of the gateway but the address at which it calls the microservice. `sentry_sdk.init` instruments Flask
and the calls of `requests` by itself, reads `SENTRY_DSN` from the environment, continues the trace that the request's
`sentry-trace` and `baggage` describe, and passes it on with its own call.

With `ROLE=microservice` it stands in for the Ruby app, on a machine without Ruby.
"""

import os
import time

import requests
import sentry_sdk
from flask import Flask, jsonify
from waitress import serve

sentry_sdk.init(
    # Every request becomes a trace: right on a desk, too much in production.
    traces_sample_rate=1.0,
    # Transactions, which is the default, or streamed spans: Spotlight's viewer shows the former only.
    trace_lifecycle=os.environ.get("TRACE_LIFECYCLE", "static"),
)

app = Flask(__name__)

ITEMS = [
    {"id": 1, "name": "lantern"},
    {"id": 2, "name": "rope"},
]


@app.after_request
def let_the_page_in(response):
    """CORS as a service writes it that has never heard of Sentry: the gateway adds the names of the trace's headers."""
    response.headers["Access-Control-Allow-Origin"] = os.environ.get("PAGE_ORIGIN", "http://localhost:5173")
    response.headers["Access-Control-Allow-Headers"] = "content-type"
    return response


if os.environ.get("ROLE") == "microservice":

    @app.get("/api")
    def stock():
        time.sleep(0.01)
        return jsonify(stock={"1": 7, "2": 0})

else:

    @app.get("/api/items")
    def items():
        # Stands for the work of a real service; the viewer draws nothing shorter than a
        # millisecond.
        time.sleep(0.02)
        return listed()

    @app.get("/api/slow")
    def slow():
        time.sleep(1)
        return listed()

    @app.get("/api/broken")
    def broken():
        listed()
        raise RuntimeError("a bug in the service")

    def listed():
        # Not `urllib.request`: it raises on a 503 with the body unread, and the SDK ends the call's
        # span (our gateway's parent) at the end of the body only, so that the trace would have a
        # hole there.
        answer = requests.get(os.environ["GATEWAY_URL"] + "/api", timeout=5)
        answer.raise_for_status()
        stock = answer.json()["stock"]
        return jsonify(items=[{**item, "stock": stock[str(item["id"])]} for item in ITEMS])


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(os.environ.get("SERVICE_PORT", "8081")))
