"""Says what Relay's own normaliser would change in transactions.

Reads payloads of transaction items, a line of JSON each, and writes for each {"complaints": [text]}: what Relay refuses, notes in `_meta`, drops or
changes. Times may change their form, a server name becomes a tag, and identifiers in a name that is a URL's path become `*`.
"""

import datetime
import json
import sys

from sentry_relay.processing import StoreNormalizer

NORMALIZER = StoreNormalizer(project_id=7, remove_other=True, normalize_user_agent=False)


def complaints(event):
    try:
        normalized = NORMALIZER.normalize_event(event)
    except Exception as error:  # Relay's refusals have a class each.
        return [repr(error)]
    meta = normalized.get("_meta") or {}
    if event["transaction_info"]["source"] == "url":
        meta.pop("transaction", None)
    found = [f"_meta: {meta}"] if meta else []
    found += differences(event, normalized, ("event_id", "type", "platform", "environment", "release"), "")
    if event["transaction_info"]["source"] != "url":
        found += differences(event, normalized, ("transaction", "transaction_info"), "")
    found += times(event, normalized, "")
    sent, read = event["contexts"], normalized["contexts"]
    for name in sent:
        found += differences(sent[name], read.get(name, {}), sent[name], f"contexts.{name}.")
    if len(event["spans"]) != len(normalized.get("spans", [])):
        return [*found, "spans: some are gone"]
    for index, (sent, read) in enumerate(zip(event["spans"], normalized.get("spans", []))):
        at = f"spans.{index}."
        found += differences(sent, read, [key for key in sent if not key.endswith("timestamp")], at)
        found += times(sent, read, at)
    found += differences(event["request"], normalized["request"], ("method", "url"), "request.")
    if "server_name" in event and ["server_name", event["server_name"]] not in normalized.get("tags", []):
        found.append("server_name: gone")
    return found


def differences(sent, read, keys, at):
    return [f"{at}{key}: {sent[key]!r} became {read.get(key)!r}" for key in keys if key in sent and read.get(key) != sent[key]]


def times(sent, read, at):
    found = []
    for key in (key for key in ("start_timestamp", "timestamp") if key in sent):
        moment = datetime.datetime.fromisoformat(sent[key].replace("Z", "+00:00")).timestamp()
        if abs(moment - read.get(key, 0)) > 0.000_001:
            found.append(f"{at}{key}: {sent[key]} became {read.get(key)}")
    return found


def judge(complaints, what):
    for line in sys.stdin:
        try:
            verdict = complaints(json.loads(line))
        except (KeyError, TypeError, ValueError) as error:
            verdict = [f"not {what} of ours: {error!r}"]
        print(json.dumps({"complaints": verdict}))


if __name__ == "__main__":
    judge(complaints, "a transaction")
