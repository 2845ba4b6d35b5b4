#!/usr/bin/env python3
"""The scene of Sentry's documentation: a page in Vue calls a Python service, and that a Ruby one, both through the gateway;
and an Astro site behind the same gateway calls them, too.

Starts Spotlight, the services, the page, the site, and Envoy with the filter. Opens page and site in Chromium, and sends requests as
a browser's SDK would, sampled and not, and one with no headers. Waits until Spotlight has each of the traces without a hole, prints them,
and stays up until Ctrl-C. `install.sh` has put the parts in place, and the module is built. Without Chromium nobody opens
the page, and without Ruby a second Python service takes its place; both is said.

Environment: ONCE=1 ends after the check (status 1 with what was missing). WITHOUT_FILTER=1 takes the filter out of the
gateway, checks that the page is then blocked and the gateway in no trace, and ends. FAILING_DAYS=1 also sends requests that
go wrong, and leaves the microservice dead. STREAMED=1 has Vue's and Python's SDK send streamed spans, and FORMAT=span_v2 or otlp the gateway: the trees
here are whole all the same, while Spotlight's viewer shows transactions only. PICTURE=<file.png> also takes a
picture of the trace that the gateway started, in the viewer (status 77 if there is no Chromium), and page.png beside it, of the page; with FAILING_DAYS=1 also failure.png. SPOTLIGHT_PORT, SERVICE_PORT,
MICROSERVICE_PORT, PAGE_PORT, SITE_PORT, GATEWAY_PORT, ADMIN_PORT, COLLECTOR_PORT choose other ports; ENVOY_BIN, SENTRY_FILTER_WASM, SENTRY_FILTER_SO, CHROMIUM and PUMA
choose another Envoy, another module, another Chromium, another Puma. DOOR=native takes the dynamic module. CI=true makes an error of what is missing.
"""

import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

import web
from bootstrap import bootstrap
from collected import collected_spans
from processes import POLL_SECONDS, Stage, Stopped, StopSignal
from settings import ASTRO_TOOLS, ORACLES, ROOT, SCENE_TOOLS, VUE_TOOLS, SceneError, Settings, read_settings
from spotlight import read_errors, read_spans
from tree import Span, render, role_of
from verdict import GATEWAY, Verdict, check, sampled_all_the_same
from visits import PATH, Visit, bare_visit, browser_visit, send

HERE = Path(__file__).resolve().parent
APPS = ROOT / "tests" / "apps"
START_SECONDS = 30
BUILD_SECONDS = 120
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
    if settings.format == "otlp":
        start_collector(settings, stage)
    start_services(settings, stage)
    page = start_page(settings, stage)
    if not settings.without_filter:
        start_site(settings, stage)
    start_envoy(settings, stage)
    if not settings.without_filter:
        warm_up_site(settings)

    visits: list[tuple[Visit, list[str]]] = []
    behind = behind_gateway(settings)
    shown = open_page(settings, stage, page, settings.picture and settings.picture.with_name("page.png"))
    if settings.without_filter:
        return show_what_breaks(settings, stage, shown)
    if shown:
        if shown["items"] != 2 or shown["problem"]:
            raise SceneError(f"the page does not show the items: {shown}")
        visits.append((Visit("the page in Chromium", shown["trace"]), ["page", *behind]))
        # The gateway starts a trace, the server that renders the page continues it, and the page
        # goes on from there.
        site = open_page(settings, stage, f"http://site.localhost:{settings.gateway.number}/")
        if site["items"] != 2 or site["loaded"] != site["trace"]:
            raise SceneError(f"the site's page does not show the items, or is not in the trace of its answer: {site}")
        visits.append((Visit("the site in Chromium", site["trace"]), ["gateway", "site", "page", *behind]))
    say("sending requests through the gateway: as a browser's SDK sends it, not sampled and sampled, and with no headers")
    unsampled = browser_visit(sampled=False)
    send(unsampled, settings.gateway.number)
    visits += [(browser_visit(), behind), (bare_visit(), behind)]
    for visit, _ in visits[-2:]:
        send(visit, settings.gateway.number)
    if settings.failing_days:
        visits += live_through_failing_days(settings, stage, behind)

    say("waiting for the traces")
    spans, verdicts = await_traces(settings, stage, visits)
    missing = [verdict for verdict in verdicts if verdict.missing]
    show_traces(spans, verdicts)
    if missing:
        explain(missing, settings, stage)
        return 1
    failure = await_failure(settings, stage, visits[-1][0]) if settings.failing_days else None
    if recorded := sampled_all_the_same(unsampled, spans):
        complain(f"the browser's decision against sampling trace {unsampled.trace_id} was not kept: {recorded}")
        return 1
    show_addresses(settings, verdicts, page)
    status = take_picture(settings, stage, started_by_gateway(verdicts)) if settings.picture else 0
    if failure and settings.picture and not status:
        status = take_picture_of_failure(settings, stage, failure)
    if not settings.once:
        stay(stage)
    return status


def live_through_failing_days(settings: Settings, stage: Stage, behind: list[str]) -> list[tuple[Visit, list[str]]]:
    """Requests that go wrong, each with the line of calls that its trace must have all the same."""
    say("sending requests that go wrong: the service has a bug, the client leaves, the microservice is down")
    broken = browser_visit("the Python service answers 500", "/api/broken", 500)
    left = replace(browser_visit("the client leaves before the answer", "/api/slow"), leaves=True)
    visits = [(broken, behind), (left, behind)]
    for visit, _ in visits:
        send(visit, settings.gateway.number)
    # The one that was left is still on its way to the microservice.
    await_traces(settings, stage, visits)
    stage.end(next(child for child in stage.children if child.name.endswith("microservice")))
    down = browser_visit("the microservice is down: Envoy answers 503, and the Python service 500", status=500)
    send(down, settings.gateway.number)
    return [*visits, (down, ["gateway", "python", "gateway"])]


def await_failure(settings: Settings, stage: Stage, down: Visit) -> dict[str, Any]:
    """The gateway's own error event for the call that found nobody, in the trace of the request that made it. Nobody else's
    requests have failed that the gateway could report: what the services answer is theirs."""
    deadline = time.monotonic() + TRACE_SECONDS
    while True:
        errors = read_errors(settings.spotlight.number)
        ours = [error for error in errors if error.get("sdk", {}).get("name") == GATEWAY]
        if ours or time.monotonic() > deadline:
            break
        stage.stop.pause(POLL_SECONDS)
    told = [(error["contexts"]["trace"]["trace_id"], error["exception"]["values"][0]["type"]) for error in ours]
    if told != [(down.trace_id, "UpstreamConnectionFailure")]:
        raise SceneError(f"expected one failure of the gateway, in trace {down.trace_id}: found {told}")
    failure: dict[str, Any] = ours[0]
    say(f"Spotlight has the gateway's failure, in its trace: {failure['exception']['values'][0]['value']}")
    return failure


def behind_gateway(settings: Settings) -> list[str]:
    return ["gateway", "python", "gateway", "ruby" if settings.puma else "python"]


def show_what_breaks(settings: Settings, stage: Stage, shown: Optional[dict[str, Any]]) -> int:
    """The counterpart: without the filter, the browser blocks the page's call and nobody reports for the gateway."""
    if shown is None:
        raise SceneError("WITHOUT_FILTER needs Chromium: run `sh tests/scene/install.sh browser`")
    blocked = [complaint for complaint in shown["console"] if "blocked by CORS policy" in complaint]
    send(browser_visit(), settings.gateway.number)
    deadline = time.monotonic() + TRACE_SECONDS
    spans: list[Span] = []
    while not any(role_of(span) == "python" for span in spans):
        if time.monotonic() > deadline:
            raise SceneError("the service reports nothing, so the gateway's silence says nothing")
        stage.stop.pause(POLL_SECONDS)
        spans = read_spans(settings.spotlight.number)
    wrong = []
    if shown["items"] or not blocked:
        wrong.append(f"the page was not blocked by CORS: {shown}")
    wrong += [f"there is a span of the gateway's, {span.span_id}" for span in spans if role_of(span) == "gateway"]
    for what in wrong:
        complain(f"without the filter: {what}")
    if not wrong:
        say(f"without the filter, the page shows \"{shown['problem']}\", and the browser says: {blocked[0]}")
        say("without the filter, the gateway is in no trace")
    return 1 if wrong else 0


def start_spotlight(settings: Settings, stage: Stage) -> None:
    port = settings.spotlight.number
    package = SCENE_TOOLS / "node_modules" / "@spotlightjs" / "spotlight"
    command = ["node", HERE / "spotlight.mjs", package, port]
    start(stage, "Spotlight", f"http://localhost:{port}", command, lambda: web.answers_200(port, "/health"))


def start_collector(settings: Settings, stage: Stage) -> None:
    """Where the gateway's spans go in OpenTelemetry's format, which Spotlight does not take."""
    port = settings.collector.number
    command = [ORACLES, HERE / "collector.py", port]
    start(stage, "Collector", f"http://127.0.0.1:{port}", command, lambda: web.accepts(port))


def all_spans(settings: Settings) -> list[Span]:
    """What everybody has reported until now."""
    spans = read_spans(settings.spotlight.number)
    return spans + (collected_spans(settings.collector.number) if settings.format == "otlp" else [])


def start_services(settings: Settings, stage: Stage) -> None:
    start_python(settings, stage, "Python service", settings.service.number, 2)
    number = settings.microservice.number
    if settings.puma is None:
        do_without(settings, "there is no Ruby with Puma and Sentry's SDK", "a second Python service stands in for the Ruby one")
        start_python(settings, stage, "Python microservice", number, 3, ROLE="microservice")
        return
    command = [settings.puma, "--quiet", "--threads", "1:4", "--bind", f"tcp://127.0.0.1:{number}"]
    dsn = dsn_of(settings, 3)
    ready = lambda: web.accepts(number)  # noqa: E731
    start(stage, "Ruby microservice", f"http://127.0.0.1:{number}", [*command, APPS / "ruby" / "config.ru"], ready, SENTRY_DSN=dsn)


def start_python(settings: Settings, stage: Stage, name: str, port: int, project: int, **role: str) -> None:
    command = [SCENE_TOOLS / "python" / "bin" / "python", APPS / "python" / "app.py"]
    variables = {
        "SERVICE_PORT": str(port),
        "SENTRY_DSN": dsn_of(settings, project),
        "GATEWAY_URL": f"http://127.0.0.1:{settings.gateway.number}",
        "PAGE_ORIGIN": f"http://localhost:{settings.page.number}",
        "TRACE_LIFECYCLE": lifecycle(settings),
        **role,
    }
    # Only connecting tells that it is ready: a request would become a trace of its own.
    start(stage, name, f"http://127.0.0.1:{port}", command, lambda: web.accepts(port), **variables)


def start_page(settings: Settings, stage: Stage) -> str:
    """Builds the page for this run's addresses, and serves it on an origin of its own. Returns its address."""
    number = settings.page.number
    for file in (APPS / "vue").iterdir():
        if file.name in ("index.html", "vite.config.js"):
            shutil.copy(file, VUE_TOOLS)
    shutil.copytree(APPS / "vue" / "src", VUE_TOOLS / "src", dirs_exist_ok=True)
    vite = ["node", VUE_TOOLS / "node_modules" / "vite" / "bin" / "vite.js"]
    built = stage.folder / "page"
    variables = {
        "VITE_SENTRY_DSN": dsn_of(settings, 4),
        "VITE_GATEWAY": f"http://127.0.0.1:{settings.gateway.number}",
        "VITE_TRACE_LIFECYCLE": lifecycle(settings),
    }
    build = stage.start("Vite", [*vite, "build", VUE_TOOLS, "--outDir", built, "--emptyOutDir"], **variables)
    if stage.wait_end(build, BUILD_SECONDS):
        raise SceneError(f"the page was not built; {build.tail()}")
    serve = [*vite, "preview", VUE_TOOLS, "--outDir", built, "--host", "localhost", "--port", number, "--strictPort"]
    address = f"http://localhost:{number}"
    start(stage, "Page", address, serve, lambda: web.accepts(number, "localhost"))
    return address


def start_site(settings: Settings, stage: Stage) -> None:
    """Builds the site, and serves it by Astro's own server."""
    apps = APPS / "astro"
    for file in ("package.json", "astro.config.mjs", "sentry.client.config.js", "sentry.server.config.js"):
        shutil.copy(apps / file, ASTRO_TOOLS)
    shutil.copytree(apps / "src", ASTRO_TOOLS / "src", dirs_exist_ok=True)
    variables = {
        "PUBLIC_SENTRY_DSN": dsn_of(settings, 5),
        "SENTRY_DSN": dsn_of(settings, 5),
        "ASTRO_TELEMETRY_DISABLED": "1",
    }
    # From its own folder, as npm does it: the SDK looks for its two files in the current one.
    command = ["npm", "--prefix", ASTRO_TOOLS, "run", "build"]
    build = stage.start("Astro", command, **variables)
    if stage.wait_end(build, BUILD_SECONDS):
        raise SceneError(f"the site was not built; {build.tail()}")
    number = settings.site.number
    serve = ["node", ASTRO_TOOLS / "dist" / "server" / "entry.mjs"]
    variables |= {"HOST": "127.0.0.1", "PORT": str(number)}
    start(stage, "Site", f"http://127.0.0.1:{number}", serve, lambda: web.accepts(number), **variables)


def warm_up_site(settings: Settings) -> None:
    """Has the site render its page once, in a trace that is not sampled: else the first start of its code, nearly a
    second, would be in the gateway's span."""
    say("warming the site up: its first page takes the longest")
    visit = browser_visit(sampled=False)
    gateway = settings.gateway.number
    send(replace(visit, path="/", headers={**visit.headers, "host": f"site.localhost:{gateway}"}), gateway)


def open_page(
    settings: Settings, stage: Stage, address: str, picture: Optional[Path] = None
) -> Optional[dict[str, Any]]:
    """What a page shows in Chromium; None, said aloud, on a machine without it. May take a picture of it."""
    if not settings.chromium.exists():
        do_without(settings, f"there is no Chromium at {settings.chromium}", f"nobody opens {address} (`make full-scene`)")
        return None
    say(f"opening {address} in Chromium")
    command = ["node", HERE / "visit.mjs", SCENE_TOOLS, address]
    visit = stage.start("Chromium", command + ([picture] if picture else []))
    if stage.wait_end(visit, PICTURE_SECONDS):
        raise SceneError(f"the page could not be opened; {visit.tail()}")
    return json.loads(visit.log.read_text().splitlines()[-1])


def lifecycle(settings: Settings) -> str:
    """How SDKs send their spans, in their own word."""
    return "stream" if settings.streamed else "static"


def dsn_of(settings: Settings, project: int) -> str:
    return f"http://0000000000000000000000000000000{project}@127.0.0.1:{settings.spotlight.number}/{project}"


def start_envoy(settings: Settings, stage: Stage) -> None:
    config = stage.folder / "envoy.yaml"
    config.write_text(bootstrap(settings))
    # Hot restart would leave a shared memory segment behind, and clash with any other Envoy on the
    # machine.
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


def await_traces(
    settings: Settings, stage: Stage, visits: Sequence[tuple[Visit, list[str]]]
) -> tuple[list[Span], list[Verdict]]:
    """Reads Spotlight until nothing is missing or the time is up; returns what it held last, and what that means."""
    known = [visit.trace_id for visit, _ in visits]
    deadline = time.monotonic() + TRACE_SECONDS
    while True:
        spans = all_spans(settings)
        verdicts = [check(visit, path, spans, known) for visit, path in visits]
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
        _, stats = web.get(settings.admin.number, "/stats?filter=sentry_filter")
        complain("the gateway's own account:")
        complain(stats.decode().rstrip() or "(no statistics *.sentry_filter.*)")
    except (OSError, http.client.HTTPException) as error:
        complain(f"Envoy's admin interface does not answer: {error}")
    for child in stage.children:
        complain(child.tail())


def show_addresses(settings: Settings, verdicts: list[Verdict], page: str) -> None:
    viewer = f"http://localhost:{settings.spotlight.number}/telemetry/traces"
    gateway = f"http://127.0.0.1:{settings.gateway.number}"
    print(f"viewer   {viewer}")
    for verdict in verdicts:
        print(f"         {viewer}/{verdict.trace_id}  ({verdict.visit.title})")
    print(f"page     {page}")
    print(f"gateway  {gateway}")
    print(f"try      curl -i {gateway}{PATH}", flush=True)


def started_by_gateway(verdicts: list[Verdict]) -> Verdict:
    """The trace for the picture: that of the page has so many spans that the viewer folds it below the gateway."""
    return next(verdict for verdict in verdicts if verdict.visit.trace_id is None)


def take_picture(settings: Settings, stage: Stage, verdict: Verdict) -> int:
    """Has the viewer photographed, at the trace that has its root here. Returns 0, or `SKIPPED` without Chromium."""
    say(f"taking a picture: {settings.picture}")
    trace = f"http://localhost:{settings.spotlight.number}/telemetry/traces/{verdict.trace_id}"
    command = ["node", HERE / "picture.mjs", SCENE_TOOLS, trace, verdict.line[0].span_id, verdict.line[-1].span_id]
    child = stage.start("Picture", [*command, settings.picture])
    status = stage.wait_end(child, PICTURE_SECONDS)
    if status not in (0, SKIPPED):
        raise SceneError(f"no picture was taken; {child.tail()}")
    print(child.log.read_text(), end="", flush=True)
    return status


def take_picture_of_failure(settings: Settings, stage: Stage, failure: dict[str, Any]) -> int:
    """Has the viewer photographed, at the gateway's error event."""
    address = f"http://localhost:{settings.spotlight.number}/telemetry/errors/{failure['event_id']}"
    title = failure["exception"]["values"][0]["type"]
    file = settings.picture and settings.picture.with_name("failure.png")
    child = stage.start("Picture of the failure", ["node", HERE / "failure.mjs", SCENE_TOOLS, address, title, file])
    status = stage.wait_end(child, PICTURE_SECONDS)
    if status not in (0, SKIPPED):
        raise SceneError(f"no picture of the failure was taken; {child.tail()}")
    return status


def stay(stage: Stage) -> None:
    say("up until Ctrl-C")
    try:
        while True:
            stage.check_alive()
            stage.stop.pause(POLL_SECONDS)
    except Stopped:
        say("ending")


def do_without(settings: Settings, what: str, instead: str) -> None:
    """Says what the scene does without, and what happens instead; in CI nothing may be missing."""
    if settings.must_be_whole:
        raise SceneError(f"{what}, and with CI=true nothing may be missing: run `make full-scene`, or leave CI out")
    say(f"{what}: {instead}")


def say(what: str) -> None:
    print(f"scene: {what}", flush=True)


def complain(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
