"""Whether a visit became the trace it should have become."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Optional

from tree import Span
from visits import Visit

GATEWAY = "sentry-filter.rust.proxy-wasm"
SERVICE = "sentry.python"


@dataclass(frozen=True)
class Verdict:
    visit: Visit
    trace_id: Optional[str]
    gateway: Optional[Span]
    service: Optional[Span]
    missing: list[str]


def judge(visit: Visit, spans: list[Span], foreign: Collection[Optional[str]]) -> Verdict:
    """Looks for the gateway's span, child of the visitor's if it had one, and the service's span below it.

    A trace that the gateway had to start is known by its root only. Spotlight is ours and empty before the visits, so
    it is the one that is not among the `foreign` traces, those of other visits.
    """
    trace_id = visit.trace_id or started_trace(spans, foreign)
    if trace_id is None:
        return Verdict(visit, None, None, None, ["a first span of the gateway's, with no parent"])
    trace = [span for span in spans if span.trace_id == trace_id]
    gateway = segment_of(GATEWAY, trace)
    service = segment_of(SERVICE, trace)
    missing = duplicates(trace)
    if gateway is None:
        missing.append(f"the gateway's span (sdk.name {GATEWAY})")
    elif gateway.parent_span_id != visit.span_id:
        missing.append(f"the gateway's span as child of {visit.span_id}: its parent is {gateway.parent_span_id}")
    if service is None:
        missing.append(f"the service's span (sdk.name {SERVICE}…)")
    elif gateway and not descends(service, gateway, trace):
        parent = service.parent_span_id
        missing.append(f"the service's span below the gateway's {gateway.span_id}: its parent is {parent}")
    return Verdict(visit, trace_id, gateway, service, missing)


def started_trace(spans: list[Span], foreign: Collection[Optional[str]]) -> Optional[str]:
    for span in spans:
        if span.is_segment and span.reporter == GATEWAY and not span.parent_span_id and span.trace_id not in foreign:
            return span.trace_id
    return None


def segment_of(reporter: str, trace: list[Span]) -> Optional[Span]:
    return next((span for span in trace if span.is_segment and span.reporter.startswith(reporter)), None)


def duplicates(trace: list[Span]) -> list[str]:
    ids = [span.span_id for span in trace]
    return [f"one span {twice} instead of {ids.count(twice)}" for twice in sorted(set(ids)) if ids.count(twice) > 1]


def descends(span: Span, ancestor: Span, trace: list[Span]) -> bool:
    """Whether only spans of the ancestor's own reporter lie between the two: its span itself, or its upstream span."""
    own = {each.span_id: each for each in trace if each.reporter == ancestor.reporter}
    for _ in range(len(trace)):
        if span.parent_span_id == ancestor.span_id:
            return True
        if span.parent_span_id not in own:
            return False
        span = own[span.parent_span_id]
    return False
