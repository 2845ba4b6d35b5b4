#!/usr/bin/env python3
"""The scene: a request goes through a real Envoy with the filter and becomes a trace in a real Sentry viewer.

Starts Spotlight, a service with Sentry's Python SDK, and Envoy; sends one request as a browser SDK would and one with
no headers; waits until Spotlight has both traces with the service's span below the gateway's; prints them, and stays
up until Ctrl-C. `install.sh` has put the parts in place, and the module is built.

Environment: ONCE=1 ends after the check (status 1 with what was missing). PICTURE=<file.png> also takes a picture of
the trace in the viewer (status 77 if there is no Chromium). SPOTLIGHT_PORT, SERVICE_PORT, GATEWAY_PORT, ADMIN_PORT
choose other ports; ENVOY_BIN and SENTRY_FILTER_WASM choose another Envoy and another module.
"""

import http.client
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import web
from bootstrap import bootstrap
from processes import POLL_SECONDS, Stage, Stopped, StopSignal
from settings import SCENE_TOOLS, SceneError, Settings, read_settings
from spotlight import read_spans
from tree import Span, render
from verdict import Verdict, judge
from visits import PATH, Visit, bare_visit, browser_visit, send

HERE = Path(__file__).resolve().parent
START_SECONDS = 30
TRACE_SECONDS = 20
PICTURE_SECONDS = 60
SKIPPED = 77


def main() -> int:
    stop = StopSignal()
    try:
        settings = read_settings(os.environ)
        with Stage(stop) as stage:
            return play(settings, stage)
    except SceneError as error:
        print(f"scene: {error}", file=sys.stderr)
        return 1
    except Stopped:
        return 130


def play(settings: Settings, stage: Stage) -> int:
    start_spotlight(settings, stage)
    start_service(settings, stage)
    start_envoy(settings, stage)

    say("sending two requests through the gateway: as a browser's SDK sends it, and with no headers")
    browser, bare = browser_visit(), bare_visit()
    for visit in (browser, bare):
        send(visit, settings.gateway.number)

    say("waiting for both traces in Spotlight")
    spans, verdicts = await_traces(settings, stage, browser, bare)
    missing = [verdict for verdict in verdicts if verdict.missing]
    show_traces(spans, verdicts)
    if missing:
        explain(missing, settings, stage)
        return 1
    show_addresses(settings, verdicts)
    status = take_picture(settings, stage, verdicts[-1]) if settings.picture else 0
    if not settings.once:
        stay(stage)
    return status


def start_spotlight(settings: Settings, stage: Stage) -> None:
    port = settings.spotlight.number
    package = SCENE_TOOLS / "node_modules" / "@spotlightjs" / "spotlight"
    command = ["node", HERE / "spotlight.mjs", package, port]
    start(stage, "Spotlight", f"http://localhost:{port}", command, lambda: web.answers_200(port, "/health"))


def start_service(settings: Settings, stage: Stage) -> None:
    port = settings.service.number
    command = [SCENE_TOOLS / "python" / "bin" / "python", HERE / "service" / "app.py"]
    dsn = f"http://00000000000000000000000000000003@127.0.0.1:{settings.spotlight.number}/2"
    variables = {"SERVICE_PORT": str(port), "SENTRY_DSN": dsn}
    # Only connecting tells that it is ready: a request would become a trace of its own.
    start(stage, "Service", f"http://127.0.0.1:{port}", command, lambda: web.accepts(port), **variables)


def start_envoy(settings: Settings, stage: Stage) -> None:
    config = stage.folder / "envoy.yaml"
    config.write_text(bootstrap(settings))
    # Hot restart would leave a shared memory segment behind, and clash with any other Envoy on the machine.
    command = [settings.envoy, "--config-path", config, "--disable-hot-restart", "--concurrency", 1]
    command += ["--log-level", "warning"]
    admin, gateway = settings.admin.number, settings.gateway.number
    where = f"http://127.0.0.1:{gateway}, admin http://127.0.0.1:{admin}"
    start(stage, "Envoy", where, command, lambda: web.answers_200(admin, "/ready") and web.accepts(gateway))


def start(
    stage: Stage, name: str, where: str, command: Sequence[object], ready: Callable[[], bool], **variables: str
) -> None:
    say(f"starting {name} on {where}")
    child = stage.start(name, command, **variables)
    stage.wait_ready(child, ready, START_SECONDS)


def await_traces(settings: Settings, stage: Stage, browser: Visit, bare: Visit) -> tuple[list[Span], list[Verdict]]:
    """Reads Spotlight until nothing is missing or the time is up; returns what it held last, and what that means."""
    deadline = time.monotonic() + TRACE_SECONDS
    while True:
        spans = read_spans(settings.spotlight.number)
        verdicts = [judge(browser, spans, []), judge(bare, spans, [browser.trace_id])]
        if not any(verdict.missing for verdict in verdicts) or time.monotonic() > deadline:
            return spans, verdicts
        stage.check_alive()
        stage.stop.pause(POLL_SECONDS)


def show_traces(spans: list[Span], verdicts: list[Verdict]) -> None:
    """The traces of the visits, and any other that Spotlight holds: none is expected, so one says what went wrong."""
    for verdict in verdicts:
        if verdict.trace_id:
            visitor = {verdict.visit.span_id: "in the caller, which does not report here"}
            print(f"\n{render(verdict.visit.title, verdict.trace_id, spans, visitor)}")
    shown = [verdict.trace_id for verdict in verdicts]
    for trace_id in dict.fromkeys(span.trace_id for span in spans if span.trace_id not in shown):
        print(f"\n{render('of no request of ours', trace_id, spans, {})}")
    print(flush=True)


def explain(missing: list[Verdict], settings: Settings, stage: Stage) -> None:
    """What was missing, and what helps to find out why."""
    for verdict in missing:
        trace = f"trace {verdict.trace_id}" if verdict.trace_id else "the trace"
        for what in verdict.missing:
            complain(f"{trace} ({verdict.visit.title}) lacks {what}")
    try:
        _, stats = web.get(settings.admin.number, "/stats?filter=wasmcustom.sentry_filter")
        complain("the gateway's own account:")
        complain(stats.decode().rstrip() or "(no statistics wasmcustom.sentry_filter.*)")
    except (OSError, http.client.HTTPException) as error:
        complain(f"Envoy's admin interface does not answer: {error}")
    for child in stage.children:
        complain(child.tail())


def show_addresses(settings: Settings, verdicts: list[Verdict]) -> None:
    viewer = f"http://localhost:{settings.spotlight.number}/telemetry/traces"
    gateway = f"http://127.0.0.1:{settings.gateway.number}"
    print(f"viewer   {viewer}")
    for verdict in verdicts:
        print(f"         {viewer}/{verdict.trace_id}  ({verdict.visit.title})")
    print(f"gateway  {gateway}")
    print(f"try      curl -i {gateway}{PATH}", flush=True)


def take_picture(settings: Settings, stage: Stage, verdict: Verdict) -> int:
    """Has the viewer photographed, at the trace that has its root here. Returns 0, or `SKIPPED` without Chromium."""
    assert verdict.gateway and verdict.service, "a verdict that lacks nothing has both"
    say(f"taking a picture: {settings.picture}")
    trace = f"http://localhost:{settings.spotlight.number}/telemetry/traces/{verdict.trace_id}"
    command = ["node", HERE / "picture.mjs", SCENE_TOOLS, trace, verdict.gateway.span_id, verdict.service.span_id]
    child = stage.start("Picture", [*command, settings.picture])
    status = stage.wait_end(child, PICTURE_SECONDS)
    if status not in (0, SKIPPED):
        raise SceneError(f"no picture was taken; {child.tail()}")
    print(child.log.read_text(), end="", flush=True)
    return status


def stay(stage: Stage) -> None:
    say("up until Ctrl-C")
    try:
        while True:
            stage.check_alive()
            stage.stop.pause(POLL_SECONDS)
    except Stopped:
        say("ending")


def say(what: str) -> None:
    print(f"scene: {what}", flush=True)


def complain(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
