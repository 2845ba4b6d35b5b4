"""A collector of OpenTelemetry's spans, as small as can be: collector.py <port>

Takes what a `POST` brings, as protobuf, and gives all of it back at `GET /spans`, as JSON. Needs OpenTelemetry's types.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SPANS = []


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            reporter = attributes(resource.resource.attributes).get("sentry.sdk.name")
            for scope in resource.scope_spans:
                SPANS.extend(plain(span, reporter) for span in scope.spans)
        self.answer(b"", "application/x-protobuf")

    def do_GET(self):
        self.answer(json.dumps(SPANS).encode(), "application/json")

    def answer(self, body, content_type):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def plain(span, reporter):
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "op": attributes(span.attributes).get("sentry.op"),
        "name": span.name,
        "start": span.start_time_unix_nano / 1e9,
        "end": span.end_time_unix_nano / 1e9,
        "is_segment": span.kind == span.SPAN_KIND_SERVER,
        "reporter": reporter,
    }


def attributes(pairs):
    return {pair.key: pair.value.string_value for pair in pairs}


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()
