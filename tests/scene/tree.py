"""A trace as a tree of spans, for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

# Who reports under which SDK name; the first prefix that fits.
REPORTERS = (
    ("sentry-filter", "gateway"),
    ("sentry.javascript.astro on node", "site"),
    ("sentry.javascript", "page"),
    ("sentry.python", "python"),
    ("sentry.ruby", "ruby"),
)


@dataclass(frozen=True)
class Span:
    trace_id: str
    span_id: str
    parent_span_id: Optional[str]
    op: str
    name: str
    start: float
    end: float
    reporter: str
    is_segment: bool
    # The dynamic sampling context of its envelope; None if the SDK is of before there was one.
    dsc: Optional[Mapping[str, object]] = None


def render(title: str, trace_id: str, spans: list[Span], outside: Mapping[Optional[str], str]) -> str:
    """Draws a trace. `outside` names the spans that are known to be reported elsewhere; any other span that is only
    known as somebody's parent is drawn as the hole it is.
    """
    spans = sorted((span for span in spans if span.trace_id == trace_id), key=lambda span: span.start)
    rows = list(draw(top(spans), "", spans, outside))
    columns = [max((len(row[index]) for row in rows), default=0) for index in range(3)]
    lines = [f"{what:<{columns[0]}}  {who:<{columns[1]}}  {time:>{columns[2]}}".rstrip() for what, who, time in rows]
    return "\n".join([f"trace {trace_id}  ({title})", *lines])


# A span, or the id of one that is only known as a parent.
Node = tuple[str, Optional[Span]]
Row = tuple[str, str, str]


def top(spans: list[Span]) -> list[Node]:
    """What the drawing starts from, in the order of time: spans without a parent, and parents that are not here."""
    known = {span.span_id for span in spans}
    nodes: list[Node] = []
    for span in spans:
        if span.parent_span_id is None:
            nodes.append((span.span_id, span))
        elif span.parent_span_id not in known and (span.parent_span_id, None) not in nodes:
            nodes.append((span.parent_span_id, None))
    return nodes


def draw(nodes: Sequence[Node], indent: str, spans: list[Span], outside: Mapping[Optional[str], str]) -> Iterator[Row]:
    for index, (span_id, span) in enumerate(nodes):
        last = index == len(nodes) - 1
        start = f"{indent}{'└─' if last else '├─'} "
        if span:
            yield f"{start}{span.op}  {span.name}", who(span), duration(span)
        else:
            yield f"{start}span {span_id}", f"({outside.get(span_id, 'missing')})", ""
        children = [(child.span_id, child) for child in spans if child.parent_span_id == span_id]
        yield from draw(children, indent + ("   " if last else "│  "), spans, outside)


def who(span: Span) -> str:
    role = role_of(span)
    return span.reporter if role == span.reporter else f"{role} ({span.reporter})"


def role_of(span: Span) -> str:
    return next((role for prefix, role in REPORTERS if span.reporter.startswith(prefix)), span.reporter)


def duration(span: Span) -> str:
    return f"{(span.end - span.start) * 1000:.1f} ms"
