"""Reading out of Spotlight what it was sent.

Of its three doors, `/mcp` gives prose for language models, of which the wording may change, and `/envelope/<id>` wants
an id that only the stream tells. So it is `/stream`, the one its own viewer lives on: server-sent events, each an
envelope as Spotlight has parsed it, so that what is read here has been understood by a real receiver.

A new subscriber is first given everything that Spotlight still holds (the last 500 envelopes), and then what comes in.
Each reading is therefore a new subscription that ends with the first short silence: there is no state to lose, and an
envelope that a silence cut off is in the next reading.
"""

import http.client
import json
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from settings import SceneError
from tree import Span

ANSWER_SECONDS = 5
SILENCE_SECONDS = 0.3


def read_spans(port: int) -> list[Span]:
    """Every span that Spotlight holds at this moment, of transactions or streamed: its viewer shows the first kind only."""
    return [span for envelope in read_envelopes(port) for span in spans_of(envelope)]


def read_errors(port: int) -> list[Any]:
    """Every error event that Spotlight holds at this moment."""
    items = (item for _, items in read_envelopes(port) for item in items)
    return [payload for header, payload in items if header.get("type") == "event"]


def read_envelopes(port: int) -> list[Any]:
    envelopes = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/stream", headers={"accept": "text/event-stream"})
        stream = connection.sock
        response = connection.getresponse()
        if response.status != 200:
            raise SceneError(f"Spotlight answers /stream with {response.status}")
        stream.settimeout(SILENCE_SECONDS)
        for data in event_data(response):
            envelopes.append(json.loads(data))
    except (socket.timeout, http.client.HTTPException, ConnectionError):
        pass  # The silence, or a Spotlight that is still too busy to answer: the next reading tells.
    finally:
        connection.close()
    return envelopes


def event_data(lines: Iterable[bytes]) -> Iterator[str]:
    """The data of each complete server-sent event; its name is the content type that the sender gave, its id ours."""
    data: list[str] = []
    for line in lines:
        text = line.decode().rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[len("data:") :].lstrip(" "))
        elif not text and data:
            yield "\n".join(data)
            data = []


def spans_of(envelope: Any) -> Iterator[Span]:
    """The spans in one envelope as `/stream` gives it: `[header, [[item header, payload], …]]`."""
    header, items = envelope
    for item_header, payload in items:
        if item_header.get("type") == "span":
            yield from streamed_spans(header, payload)
        if item_header.get("type") != "transaction":
            continue
        sdk = payload.get("sdk") or header.get("sdk") or {}
        reporter = sdk.get("name", "unknown SDK")
        if payload.get("platform") == "node":  # Astro's SDK has one name on the server and in the browser.
            reporter += " on node"
        try:
            segment = {**payload, **payload["contexts"]["trace"], "description": payload.get("transaction")}
            span = span_of(segment, reporter, is_segment=True)
            yield replace(span, dsc=header.get("trace"))
            for child in payload.get("spans") or []:
                yield span_of(child, reporter, is_segment=False)
        except (KeyError, TypeError, ValueError) as error:  # Spotlight takes anything; Sentry would not.
            raise SceneError(f"{reporter} sent a transaction that is none ({error!r}): {payload}") from error


def streamed_spans(header: Any, payload: Any) -> Iterator[Span]:
    """The streamed spans of one item: https://develop.sentry.dev/sdk/telemetry/spans/span-protocol/."""
    for fields in payload["items"]:
        attributes = {name: attribute.get("value") for name, attribute in fields.get("attributes", {}).items()}
        sdk = (header.get("sdk") or {}).get("name") or attributes.get("sentry.sdk.name")
        try:
            translated = {
                **fields,
                "op": attributes.get("sentry.op"),
                "description": fields["name"],
                "timestamp": fields["end_timestamp"],
            }
            is_segment = fields.get("is_segment", False)
            span = span_of(translated, sdk or "unknown SDK", is_segment)
            yield replace(span, dsc=header.get("trace")) if is_segment else span
        except (KeyError, TypeError, ValueError) as error:
            raise SceneError(f"{sdk} sent a streamed span that is none ({error!r}): {fields}") from error


def span_of(fields: Any, reporter: str, is_segment: bool) -> Span:
    return Span(
        trace_id=fields["trace_id"],
        span_id=fields["span_id"],
        parent_span_id=fields.get("parent_span_id") or None,
        op=fields.get("op") or "default",
        name=fields.get("description") or "(no name)",
        start=seconds(fields["start_timestamp"]),
        end=seconds(fields["timestamp"]),
        reporter=reporter,
        is_segment=is_segment,
    )


def seconds(timestamp: Any) -> float:
    """SDKs write timestamps as seconds since the epoch or as RFC 3339 text; both are allowed."""
    if isinstance(timestamp, (int, float)):
        return float(timestamp)
    parts = re.fullmatch(r"(?P<time>[^.]*?)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)", timestamp)
    if not parts:
        raise ValueError(f"{timestamp!r} is no timestamp")
    # Before Python 3.11, `fromisoformat` takes neither `Z` nor any number of digits in the
    # fraction.
    whole = datetime.fromisoformat(parts["time"] + parts["zone"].replace("Z", "+00:00"))
    return whole.timestamp() + float(parts["fraction"] or 0)
