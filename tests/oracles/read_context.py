"""Says what Sentry's Python SDK makes of trace contexts.

Reads lines of JSON, {"sentry_trace": text, "baggage": [text]}, as a service gets the two headers, and writes for each what the SDK continues:
{"trace_id", "parent_span_id", "sampled", "dsc"}. Header values are Latin-1, as WSGI has them.
"""

import json
import sys

import sentry_sdk


def read(headers):
    environ = {"HTTP_SENTRY_TRACE": headers["sentry_trace"]}
    if headers["baggage"]:
        # As WSGI servers join lines.
        environ["HTTP_BAGGAGE"] = ",".join(headers["baggage"])
    with sentry_sdk.isolation_scope():
        transaction = sentry_sdk.continue_trace(environ)
        context = sentry_sdk.get_isolation_scope()._propagation_context
        # The SDK completes what it read with a number of its own.
        baggage = context.baggage.sentry_items if context.baggage else {}
        return {
            "trace_id": transaction.trace_id,
            "parent_span_id": transaction.parent_span_id,
            "sampled": transaction.parent_sampled,
            "dsc": {key: value for key, value in baggage.items() if value is not None},
        }


def main():
    sentry_sdk.init(traces_sample_rate=1.0)
    for line in sys.stdin:
        print(json.dumps(read(json.loads(line))))


if __name__ == "__main__":
    main()
