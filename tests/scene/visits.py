"""The requests of the scene, and the trace that each of them should become."""

import http.client
import secrets
from dataclasses import dataclass, field
from typing import Optional

from settings import SceneError
from web import ask_and_leave, get

PATH = "/api/items"


@dataclass(frozen=True)
class Visit:
    """A request through the gateway. Without ids it carries no trace, and the gateway has to start one."""

    title: str
    trace_id: Optional[str] = None
    span_id: Optional[str] = None
    headers: dict[str, str] = field(default_factory=dict)
    path: str = PATH
    status: int = 200
    # Whether the caller leaves before the answer.
    leaves: bool = False


def browser_visit(
    title: str = "continued from the browser", path: str = PATH, status: int = 200, sampled: bool = True
) -> Visit:
    """What a browser SDK adds to a `fetch`, in a page whose baggage already has another vendor's member."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    baggage = [
        "acme-tenant=42",
        "sentry-environment=local",
        "sentry-release=shop%401.0.0",
        "sentry-public_key=00000000000000000000000000000002",
        f"sentry-trace_id={trace_id}",
        f"sentry-sampled={str(sampled).lower()}",
        "sentry-sample_rand=0.271828",
        "sentry-sample_rate=1",
    ]
    headers = {
        "sentry-trace": f"{trace_id}-{span_id}-{int(sampled)}",
        "baggage": ",".join(baggage),
        "origin": "http://localhost:5173",  # Where the page is by default.
        "accept": "application/json",
        "user-agent": "Mozilla/5.0 (a page of the scene)",
    }
    return Visit(title, trace_id, span_id, headers, path, status)


def bare_visit() -> Visit:
    return Visit("started by the gateway")


def send(visit: Visit, port: int) -> None:
    if visit.leaves:
        ask_and_leave(port, visit.path, visit.headers)
        return
    try:
        status, body = get(port, visit.path, visit.headers)
    except (OSError, http.client.HTTPException) as error:
        raise SceneError(f"the gateway did not answer {visit.path}: {error}") from error
    if status != visit.status:
        raise SceneError(f"the gateway answered {visit.path} with {status}: {body[:300].decode(errors='replace')}")
