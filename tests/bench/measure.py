"""How a window is measured: an Envoy as the gateway, h2load as its clients, and an Envoy behind it that is service and receiver in one.

What is told is the CPU time of the gateway's process by the kernel's account, from the first request of a window until its spans have left. The gateway has one core
to itself; the load, the service and the receiver share another. A window fails if the contestant did not do its job: lost a span, failed a request.
"""

import math
import os
import statistics
import subprocess
import time
import urllib.request
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from contestants import BROWSER, Contestant
from envoys import LOCALHOST, BenchError, Envoy, behind

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "target" / "bench"
ENVOY = ROOT / ".tools" / "bin" / "envoy"
SETTLE_SECONDS = 1.3  # A flush interval and an answer.
LAST_SPANS_SECONDS = 8
WARM_UP_REQUESTS = 2000


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    requests: int
    connections: int = 8
    path: str = "/api/7?limit=10"
    # As fast as the gateway answers, if there is none.
    per_second: int | None = None


class Window:
    """One contestant's turn in one round."""

    def __init__(self, cpu_us: float, per_second: float, milliseconds: list[float], spans: int, posts: int) -> None:
        self.cpu_us, self.per_second, self.spans, self.posts = cpu_us, per_second, spans, posts
        ordered = sorted(milliseconds)
        self.p50, self.p99, self.p999 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99, 0.999))


class Bench:
    def __init__(self, folder: Path, always_settles: bool = True) -> None:
        self.folder, self.always_settles = folder, always_settles
        cpus = sorted(os.sched_getaffinity(0))
        self.pinned = len(cpus) > 1
        self.load_cpu, self.gateway_cpu = ({cpus[0]}, {cpus[-1]}) if self.pinned else (set(), set())
        self.envoys: list[Envoy] = []

    def start_behind(self) -> Envoy:
        return self.start(behind(), "behind", self.load_cpu)

    def start(self, bootstrap: dict, name: str, cpus: set[int], workers: int = 1) -> Envoy:
        envoy = Envoy(ENVOY, bootstrap, self.folder, name, cpus, workers)
        self.envoys.append(envoy)
        return envoy

    def end(self) -> None:
        for envoy in self.envoys:
            envoy.end()

    def prove_forwarding(self, contestant: Contestant, envoy: Envoy) -> None:
        url = f"http://{LOCALHOST}:{envoy.ports['gateway']}/shown"
        request = urllib.request.Request(url, headers=BROWSER | contestant.headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            if contestant.forwards and not answer.headers.get(f"x-saw-{contestant.forwards}"):
                raise BenchError(f"{contestant.name}: the service got no {contestant.forwards}")
        if contestant.answers:
            request = urllib.request.Request(f"http://{LOCALHOST}:{envoy.ports['gateway']}{contestant.path}", headers=BROWSER | contestant.headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                if not answer.headers.get(contestant.answers):
                    raise BenchError(f"{contestant.name}: the client got no {contestant.answers}")

    def window(self, contestant: Contestant, envoy: Envoy, load: Load) -> Window:
        # Connections, caches and compiled code are there before it counts.
        self.load(contestant, envoy, replace(load, requests=max(min(WARM_UP_REQUESTS, load.requests), load.connections), per_second=None))
        self.settle(contestant)
        before, cpu = self.settled(contestant, envoy), envoy.cpu_seconds()
        per_second, milliseconds = self.load(contestant, envoy, load)
        self.settle(contestant)
        cpu = envoy.cpu_seconds() - cpu
        spans, posts = self.prove_work(contestant, envoy, before, load.requests)
        return Window(cpu * 1e6 / load.requests, per_second, milliseconds, spans, posts)

    def settle(self, contestant: Contestant) -> None:
        # Where many windows are measured, nobody waits for who has nothing to send.
        time.sleep(SETTLE_SECONDS if contestant.spans or self.always_settles else 0.1)

    def settled(self, contestant: Contestant, envoy: Envoy) -> dict[str, int]:
        """The stats when nothing moves any more."""
        stats = envoy.stats()
        if not contestant.spans and not self.always_settles:
            return stats
        for _ in range(LAST_SPANS_SECONDS * 2):
            time.sleep(0.3)
            last, stats = stats, envoy.stats()
            if contestant.sent is None or last.get(contestant.sent, 0) == stats.get(contestant.sent, 0):
                return stats
        raise BenchError(f"{contestant.name}: spans are still being sent")

    def prove_work(self, contestant: Contestant, envoy: Envoy, before: dict[str, int], requests: int) -> tuple[int, int]:
        """Answers how many spans were sent, and in how many POSTs."""
        after = self.settled(contestant, envoy)

        def grown(name: str) -> int:
            return after.get(name, 0) - before.get(name, 0)

        if (count := grown("http.gateway.downstream_rq_total")) != requests:
            raise BenchError(f"{contestant.name}: {count} requests reached the gateway instead of {requests}")
        if contestant.lost:
            lost = {name: grown(name) for name in after if name.startswith(contestant.lost) and grown(name)}
            if lost:
                raise BenchError(f"{contestant.name}: spans were lost: {lost}")
        sent = grown(contestant.sent) if contestant.sent else 0
        wanted, tolerance = expected_spans(contestant, requests)
        if contestant.sent and abs(sent - wanted) > tolerance:
            raise BenchError(f"{contestant.name}: {sent} spans were sent instead of {wanted:.0f} ± {tolerance:.0f}")
        posts, failed = grown("cluster.sentry.upstream_rq_total"), grown("cluster.sentry.upstream_rq_total") - grown("cluster.sentry.upstream_rq_2xx")
        # Who records nothing may still report, each worker once a minute, that it did not.
        allowed = posts > 0 if sent else posts <= envoy.workers
        if not allowed or failed:
            raise BenchError(f"{contestant.name}: {posts} requests to the receiver, {failed} of them failed")
        return sent, posts

    def load(self, contestant: Contestant, envoy: Envoy, load: Load) -> tuple[float, list[float]]:
        log = self.folder / "h2load.tsv"
        log.unlink(missing_ok=True)
        command = ["taskset", "-c", str(next(iter(self.load_cpu)))] if self.load_cpu else []
        command += [os.environ.get("H2LOAD", "h2load"), *([] if contestant.http2 else ["--h1"])]
        command += [f"-n{load.requests}", f"-c{load.connections}", "-t1", f"--log-file={log}"]
        if load.per_second:
            command.append(f"--rps={load.per_second / load.connections:g}")
        for name, value in (BROWSER | contestant.headers).items():
            command.append(f"--header={name}: {value}")
        command.append(f"http://{LOCALHOST}:{envoy.ports['gateway']}{contestant.path or load.path}")
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if run.returncode or f" {load.requests} succeeded, 0 failed" not in run.stdout:
            raise BenchError(f"{contestant.name}: requests failed:\n{run.stdout}{run.stderr}")
        rows = [line.split("\t") for line in log.read_text(encoding="ascii").splitlines()]
        started = [int(row[0]) for row in rows]
        took = [int(row[2]) for row in rows]
        # From the first request to the last answer: h2load's own start is not the gateway's.
        seconds = (max(map(sum, zip(started, took))) - min(started)) / 1e6
        return load.requests / seconds, [each / 1e3 for each in took]


def expected_spans(contestant: Contestant, requests: int) -> tuple[float, float]:
    """How many spans a window makes, and how far off that chance may be: six standard deviations of what is drawn, nothing where nothing is drawn."""
    rate = contestant.rate
    return contestant.spans * requests * rate, 6 * contestant.spans * math.sqrt(requests * rate * (1 - rate))


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def machine(bench: Bench, how: str) -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    version = subprocess.run([str(ENVOY), "--version"], capture_output=True, text=True, check=True).stdout.split("/")[-4]
    where = "the gateway on one core, load, service and receiver on another" if bench.pinned else "all on one core"
    return (
        f"{date.today()}, Envoy {version}, {os.cpu_count()} cores ({model}), {memory:.0f} GiB, {where}; {how}"
    )


def into_page(target: str, text: str) -> None:
    """Into the page about performance, between the markers of that target."""
    markers = (f"<!-- make {target} DOCS=1: begin -->", "<!-- end -->")
    page = ROOT / "docs" / "performance.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise BenchError(f"docs/performance.md has no place for the numbers: {markers[0]} … {markers[1]}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or text == "0":
        raise BenchError(f"{name}: expected a whole number above 0, found {text!r}")
    return int(text)
