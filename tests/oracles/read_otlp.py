"""Reads requests for OpenTelemetry's trace endpoint with that project's own protobuf types.

Reads bodies, a line of hex each, and writes for each {"unknown_fields": number, "spans": [{"trace_id", "span_id", "name", ...}]}.
"""

import json
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def unknown_fields(message):
    """How many fields there are, at any depth, that the types do not have."""
    count = len(UnknownFieldSet(message))
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            inner = value if descriptor.is_repeated else [value]
            count += sum(unknown_fields(one) for one in inner)
    return count


def main():
    for line in sys.stdin:
        request = ExportTraceServiceRequest.FromString(bytes.fromhex(line.strip()))
        spans = [
            {
                "trace_id": span.trace_id.hex(),
                "span_id": span.span_id.hex(),
                "parent_span_id": span.parent_span_id.hex(),
                "name": span.name,
                "kind": span.kind,
                "attributes": len(span.attributes),
            }
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        print(json.dumps({"unknown_fields": unknown_fields(request), "spans": spans}))


if __name__ == "__main__":
    main()
