"""Reading what the scene's collector was sent (collector.py): the gateway's spans in OpenTelemetry's format."""

import json
from collections.abc import Mapping
from typing import Any

import web
from settings import SceneError
from tree import Span


def collected_spans(port: int) -> list[Span]:
    status, body = web.get(port, "/spans")
    if status != 200:
        raise SceneError(f"the collector answers with {status}")
    return [collected_span(fields) for fields in json.loads(body)]


def collected_span(fields: Mapping[str, Any]) -> Span:
    return Span(
        trace_id=fields["trace_id"],
        span_id=fields["span_id"],
        parent_span_id=fields["parent_span_id"] or None,
        op=fields["op"] or "default",
        name=fields["name"],
        start=fields["start"],
        end=fields["end"],
        reporter=fields["reporter"] or "unknown SDK",
        is_segment=fields["is_segment"],
        # OTLP has no place for a dynamic sampling context: none is missing.
        dsc={},
    )
