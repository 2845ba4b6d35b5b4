"""Whether a visit became the trace it should have become: one trace, no hole, and everybody in it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Optional

from tree import Span, role_of
from visits import Visit

GATEWAY = "sentry-filter.rust.proxy-wasm"


@dataclass(frozen=True)
class Verdict:
    visit: Visit
    trace_id: Optional[str]
    # From the first span to the last one of the call, as far as it goes without a hole.
    line: list[Span]
    missing: list[str]


def check(visit: Visit, path: Sequence[str], spans: list[Span], foreign: Collection[Optional[str]]) -> Verdict:
    """Looks for the line of calls that goes through the reporters of `path`, and for anything wrong with the trace.

    A trace of which the caller did not choose the id is known by elimination: Spotlight is ours and empty before the
    visits, so it is the one that is not among the `foreign` traces, those of other visits.
    """
    trace_id = visit.trace_id or next((span.trace_id for span in spans if span.trace_id not in foreign), None)
    if trace_id is None:
        return Verdict(visit, None, [], ["any span"])
    trace = [span for span in spans if span.trace_id == trace_id]
    line = longest_line(trace)
    missing = duplicates(trace) + holes(visit, trace) + contexts(trace)
    roles = [role for index, role in enumerate(map(role_of, line)) if index == 0 or role_of(line[index - 1]) != role]
    if roles != list(path):
        missing.append(f"the line {' > '.join(path)}: found {' > '.join(roles) or 'nothing'}")
    return Verdict(visit, trace_id, line, missing)


def longest_line(trace: list[Span]) -> list[Span]:
    """The deepest span with all spans above it, from the top."""
    known = {span.span_id: span for span in trace}
    longest: list[Span] = []
    for span in trace:
        line = [span]
        while (parent := known.get(line[0].parent_span_id or "")) and parent not in line:
            line.insert(0, parent)
        longest = max(longest, line, key=len)
    return longest


def duplicates(trace: list[Span]) -> list[str]:
    ids = [span.span_id for span in trace]
    return [f"one span {twice} instead of {ids.count(twice)}" for twice in sorted(set(ids)) if ids.count(twice) > 1]


def holes(visit: Visit, trace: list[Span]) -> list[str]:
    """Every span hangs below one that was reported, or below the caller that does not report; one has no parent."""
    known = {span.span_id for span in trace} | {visit.span_id}
    missing = [
        f"span {span.parent_span_id}, parent of {role_of(span)}'s {span.op} {span.span_id}"
        for span in trace
        if span.parent_span_id and span.parent_span_id not in known
    ]
    tops = [span for span in trace if span.parent_span_id in (None, visit.span_id)]
    if len(tops) != 1:
        missing.append(f"a single first span: there are {len(tops)}")
    return missing


def contexts(trace: list[Span]) -> list[str]:
    """All envelopes have the same dynamic sampling context, but those of an SDK that knows none."""
    segments = [span for span in trace if span.is_segment]
    missing = [
        f"the dynamic sampling context in the envelope of {role_of(span)}"
        for span in segments
        if span.dsc is None and role_of(span) != "ruby"
    ]
    told = [(role_of(span), sorted((key, comparable(key, value)) for key, value in span.dsc.items())) for span in segments if span.dsc]
    if len({tuple(context) for _, context in told}) > 1:
        missing.append(f"one dynamic sampling context in all envelopes: {told}")
    return missing


def comparable(key: str, value: object) -> str:
    """SDKs for JavaScript read `sample_rand` as a number, and pass 0.077180 on as 0.07718."""
    try:
        return str(float(value)) if key == "sample_rand" else text(value)
    except (TypeError, ValueError):
        return text(value)


def sampled_all_the_same(visit: Visit, spans: list[Span]) -> list[str]:
    """What was recorded of a visit that its caller decided not to sample."""
    return [f"{role_of(span)}'s {span.op} {span.span_id}" for span in spans if span.trace_id == visit.trace_id]


def text(value: object) -> str:
    """In JSON an SDK may write a member of `baggage` as what it means, so `true` as well as `"true"`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
