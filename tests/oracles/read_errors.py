"""Says what Relay's own normaliser would change in error events.

Reads payloads of event items, a line of JSON each, and writes for each {"complaints": [text]}: what Relay refuses, notes in `_meta`, drops or changes.
Times may change their form, tags become pairs, headers pairs in an order of their own, and a query pairs.
"""

from urllib.parse import parse_qsl

from read_transactions import NORMALIZER, differences, judge, times

KEPT = ("event_id", "level", "logger", "platform", "environment", "release", "transaction", "fingerprint")


def complaints(event):
    try:
        normalized = NORMALIZER.normalize_event(event)
    except Exception as error:  # Relay's refusals have a class each.
        return [repr(error)]
    found = [f"_meta: {normalized['_meta']}"] if normalized.get("_meta") else []
    found += differences(event, normalized, KEPT, "") + times({"timestamp": event["timestamp"]}, normalized, "")
    [sent], [read] = event["exception"]["values"], normalized["exception"]["values"]
    found += differences(sent, read, ("type", "value"), "exception.")
    for name, sent in event["contexts"].items():
        found += differences(sent, normalized["contexts"].get(name, {}), sent, f"contexts.{name}.")
    tags = dict(normalized.get("tags", []))
    found += differences(event["tags"], tags, event["tags"], "tags.")
    if "server_name" in event and tags.get("server_name") != event["server_name"]:
        found.append("server_name: gone")
    sent, read = event["request"], normalized["request"]
    found += differences(sent, read, ("method", "url"), "request.")
    headers = {name.lower(): value for name, value in read.get("headers", [])}
    found += differences(sent.get("headers", {}), headers, sent.get("headers", {}), "request.headers.")
    query = [tuple(pair) for pair in read.get("query_string", [])]
    if query != parse_qsl(sent.get("query_string", ""), keep_blank_values=True):
        found.append(f"request.query_string: {sent.get('query_string')!r} became {query}")
    return found


if __name__ == "__main__":
    judge(complaints, "an error event")
