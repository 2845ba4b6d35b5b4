"""What a request costs: `make bench`.

Each contestant is an Envoy process of its own. They take turns, one window each, for several rounds, so that what else the machine does hits all alike.
What is told is the CPU time of the gateway's process by the kernel's account, from the first request of a window until its spans have left. The gateway has one core
to itself; the load, the service and the receiver share another. A run fails if a contestant did not do its job: forwarded no trace, lost a span, failed a request.

ROUNDS=5, REQUESTS=20000 (a window), CONNECTIONS=8, ONLY=none,empty,otlp, BASELINE_WASM=path (another module, as `otlp@baseline` and so on), README=1
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from datetime import date
from pathlib import Path

from contestants import BROWSER, Contestant, everybody
from envoys import LOCALHOST, BenchError, Envoy, behind, gateway, temporary_folder

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "target" / "bench"
ENVOY = ROOT / ".tools" / "bin" / "envoy"
MARKERS = ("<!-- make bench README=1: begin -->", "<!-- end -->")
SETTLE_SECONDS = 1.3  # A flush interval and an answer.
LAST_SPANS_SECONDS = 8
WARM_UP_REQUESTS = 2000

# What filter.md calls the floors: what, by whom, against whom, at most.
ADDED_AT_MOST = [("otlp", "otel+upstream", 0.50, 0.35), ("transaction", "otel+upstream", 0.95, 0.80),
                 ("unsampled", "empty", 1.6, 1.2), ("forwarded", "empty", 1.6, 1.2)]
THROUGHPUT_AT_LEAST = [("otlp", "none", 0.70, 0.80)]


class Window:
    """One contestant's turn in one round."""

    def __init__(self, cpu_us: float, per_second: float, milliseconds: list[float], spans_a_post: float) -> None:
        self.cpu_us, self.per_second, self.spans_a_post = cpu_us, per_second, spans_a_post
        ordered = sorted(milliseconds)
        self.p50, self.p99, self.p999 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99, 0.999))


class Bench:
    def __init__(self, folder: Path, rounds: int, requests: int, connections: int) -> None:
        self.folder, self.rounds, self.requests, self.connections = folder, rounds, requests, connections
        cpus = sorted(os.sched_getaffinity(0))
        self.pinned = len(cpus) > 1
        self.load_cpu, self.gateway_cpu = ({cpus[0]}, {cpus[-1]}) if self.pinned else (set(), set())
        self.envoys: list[Envoy] = []
        self.gateways: dict[str, tuple[Contestant, Envoy]] = {}

    def added(self, windows: dict[str, list[Window]], name: str) -> float:
        """The CPU over no filter at all: both of the same round, then the median of the rounds."""
        base = windows[self.gateways[name][0].beside]
        return statistics.median(one.cpu_us - none.cpu_us for one, none in zip(windows[name], base))

    def start_all(self, contestants: list[Contestant]) -> None:
        service = self.start(behind(), "behind", self.load_cpu)
        for each in contestants:
            self.gateways[each.name] = each, self.start(gateway(each, service), each.name.replace("+", "-"), self.gateway_cpu, each.workers)

    def start_shared(self, contestants: dict[str, Contestant]) -> None:
        """The same, but those that differ in their load only have one gateway."""
        service = self.start(behind(), "behind", self.load_cpu)
        started: dict[str, Envoy] = {}
        for name, each in contestants.items():
            bootstrap = gateway(each, service)
            key = f"{each.workers} {json.dumps(bootstrap)}"
            if key not in started:
                started[key] = self.start(bootstrap, name.replace("+", "-"), self.gateway_cpu, each.workers)
            self.gateways[name] = each, started[key]

    def start(self, bootstrap: dict, name: str, cpus: set[int], workers: int = 1) -> Envoy:
        envoy = Envoy(ENVOY, bootstrap, self.folder, name, cpus, workers)
        self.envoys.append(envoy)
        return envoy

    def end(self) -> None:
        for envoy in self.envoys:
            envoy.end()

    def run(self) -> dict[str, list[Window]]:
        for contestant, envoy in self.gateways.values():
            self.prove_forwarding(contestant, envoy)
        windows: dict[str, list[Window]] = {name: [] for name in self.gateways}
        for number in range(self.rounds):
            for name, (contestant, envoy) in self.gateways.items():
                windows[name].append(self.window(contestant, envoy))
            told = ", ".join(f"{name} {each[-1].cpu_us:.0f}" for name, each in windows.items())
            print(f"round {number + 1} of {self.rounds}: µs of CPU a request: {told}", file=sys.stderr)
        return windows

    def prove_forwarding(self, contestant: Contestant, envoy: Envoy) -> None:
        url = f"http://{LOCALHOST}:{envoy.ports['gateway']}/shown"
        request = urllib.request.Request(url, headers=BROWSER | contestant.headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            if contestant.forwards and not answer.headers.get(f"x-saw-{contestant.forwards}"):
                raise BenchError(f"{contestant.name}: the service got no {contestant.forwards}")

    def window(self, contestant: Contestant, envoy: Envoy) -> Window:
        # Connections, caches and compiled code are there before it counts.
        self.load(contestant, envoy, WARM_UP_REQUESTS)
        time.sleep(SETTLE_SECONDS)
        requests = contestant.requests or self.requests
        before, cpu = self.settled(contestant, envoy), envoy.cpu_seconds()
        per_second, milliseconds = self.load(contestant, envoy, requests)
        time.sleep(SETTLE_SECONDS)
        cpu = envoy.cpu_seconds() - cpu
        posts = self.prove_work(contestant, envoy, before, requests)
        return Window(cpu * 1e6 / requests, per_second, milliseconds, contestant.spans * requests / posts if posts else 0)

    def settled(self, contestant: Contestant, envoy: Envoy) -> dict[str, int]:
        """The stats when nothing moves any more."""
        stats = envoy.stats()
        for _ in range(LAST_SPANS_SECONDS * 2):
            time.sleep(0.3)
            last, stats = stats, envoy.stats()
            if contestant.sent is None or last.get(contestant.sent, 0) == stats.get(contestant.sent, 0):
                return stats
        raise BenchError(f"{contestant.name}: spans are still being sent")

    def prove_work(self, contestant: Contestant, envoy: Envoy, before: dict[str, int], requests: int) -> int:
        """How many requests to the receiver it took."""
        after = self.settled(contestant, envoy)

        def grown(name: str) -> int:
            return after.get(name, 0) - before.get(name, 0)

        if (count := grown("http.gateway.downstream_rq_total")) != requests:
            raise BenchError(f"{contestant.name}: {count} requests reached the gateway instead of {requests}")
        if contestant.lost:
            lost = {name: grown(name) for name in after if name.startswith(contestant.lost) and grown(name)}
            if lost:
                raise BenchError(f"{contestant.name}: spans were lost: {lost}")
        if contestant.sent and (sent := grown(contestant.sent)) != contestant.spans * requests:
            raise BenchError(f"{contestant.name}: {sent} spans were sent instead of {contestant.spans * requests}")
        posts, failed = grown("cluster.sentry.upstream_rq_total"), grown("cluster.sentry.upstream_rq_total") - grown("cluster.sentry.upstream_rq_2xx")
        # Who records nothing may still report, once a minute, that it did not.
        allowed = posts > 0 if contestant.spans else posts <= 1
        if not allowed or failed:
            raise BenchError(f"{contestant.name}: {posts} requests to the receiver, {failed} of them failed")
        return posts

    def load(self, contestant: Contestant, envoy: Envoy, requests: int) -> tuple[float, list[float]]:
        log = self.folder / "h2load.tsv"
        log.unlink(missing_ok=True)
        command = ["taskset", "-c", str(next(iter(self.load_cpu)))] if self.load_cpu else []
        command += [os.environ.get("H2LOAD", "h2load"), "--h1", f"-n{requests}", f"-c{contestant.connections or self.connections}", "-t1", f"--log-file={log}"]
        for name, value in (BROWSER | contestant.headers).items():
            command.append(f"--header={name}: {value}")
        command.append(f"http://{LOCALHOST}:{envoy.ports['gateway']}{contestant.path}")
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if run.returncode or f" {requests} succeeded, 0 failed" not in run.stdout:
            raise BenchError(f"{contestant.name}: requests failed:\n{run.stdout}{run.stderr}")
        rows = [line.split("\t") for line in log.read_text(encoding="ascii").splitlines()]
        started = [int(row[0]) for row in rows]
        took = [int(row[2]) for row in rows]
        # From the first request to the last answer: h2load's own start is not the gateway's.
        seconds = (max(map(sum, zip(started, took))) - min(started)) / 1e6
        return requests / seconds, [each / 1e3 for each in took]


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(bench: Bench, windows: dict[str, list[Window]]) -> str:
    lines = ["| | µs of CPU a request | added | requests/s | p50 ms | p99 ms | p99.9 ms | RSS MiB |", "|---|---|---|---|---|---|---|---|"]
    for name, each in windows.items():
        contestant, envoy = bench.gateways[name]
        more = f"{bench.added(windows, name):+.1f}" if contestant.beside in windows and contestant.filters or contestant.tracing else ""
        tail = " | ".join(f"{statistics.median(getattr(one, key) for one in each):.2f}" for key in ("p50", "p99", "p999"))
        lines.append(
            f"| {contestant.what} (`{name}`) | {spread([one.cpu_us for one in each], 1)} | {more} | {spread([one.per_second for one in each], 0)} | {tail} "
            f"| {envoy.resident_bytes() / 2**20:.0f} |"
        )
    return "\n".join(lines)


def floors(bench: Bench, windows: dict[str, list[Window]]) -> tuple[str, bool]:
    lines, all_hold = ["| ratio | measured | floor | holds | goal | reached |", "|---|---|---|---|---|---|"], True
    for what, against, floor, goal in ADDED_AT_MOST if "none" in windows else []:
        for name in (what, what + "@baseline"):
            if name not in windows or against not in windows:
                continue
            base = bench.added(windows, against)
            if base <= 0:
                raise BenchError(f"{against} cost nothing over no filter: too noisy to compare; raise REQUESTS or ROUNDS")
            ratio = bench.added(windows, name) / base
            all_hold &= ratio <= floor or name != what
            lines.append(f"| CPU added, `{name}` / `{against}` | {ratio:.2f} | ≤ {floor:.2f} | {yes(ratio <= floor)} | ≤ {goal:.2f} | {yes(ratio <= goal)} |")
    for what, against, floor, goal in THROUGHPUT_AT_LEAST:
        for name in (what, what + "@baseline"):
            if name not in windows or against not in windows:
                continue
            ratio = statistics.median(one.per_second / none.per_second for one, none in zip(windows[name], windows[against]))
            all_hold &= ratio >= floor or name != what
            lines.append(f"| requests/s, `{name}` / `{against}` | {ratio:.2f} | ≥ {floor:.2f} | {yes(ratio >= floor)} | ≥ {goal:.2f} | {yes(ratio >= goal)} |")
    return "\n".join(lines), all_hold


def yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def machine(bench: Bench) -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    version = subprocess.run([str(ENVOY), "--version"], capture_output=True, text=True, check=True).stdout.split("/")[-4]
    where = "the gateway on one core, load, service and receiver on another" if bench.pinned else "all on one core"
    return (
        f"{date.today()}, Envoy {version}, {os.cpu_count()} cores ({model}), {memory:.0f} GiB, {where}; {bench.connections} connections, "
        f"{bench.rounds} rounds of {bench.requests:,} requests each; medians (least–most)"
    )


def write_csv(windows: dict[str, list[Window]]) -> None:
    with (OUTPUT / "bench.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["contestant", "round", "cpu_us", "requests_per_second", "p50_ms", "p99_ms", "p999_ms"])
        for name, each in windows.items():
            for number, one in enumerate(each, 1):
                writer.writerow([name, number, f"{one.cpu_us:.2f}", f"{one.per_second:.0f}", one.p50, one.p99, one.p999])


def draw(bench: Bench, windows: dict[str, list[Window]], note: str, file: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    contestants = [contestant for contestant, _ in bench.gateways.values()]
    names = [each.name for each in contestants if each.filters or each.tracing]
    names.sort(key=lambda name: bench.added(windows, name), reverse=True)
    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(names) + 1.2))
    values = [bench.added(windows, name) for name in names]
    native = ("otel", "otel+upstream", "zipkin", "lua")
    bars = axes.barh(names, values, color=["#9aa0a6" if name in native else "#6c5fc7" for name in names])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xlabel("µs of CPU a request, added to Envoy without a filter")
    axes.set_title(note.partition(",")[0] + ": this filter, and what is compiled into Envoy (grey)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def into_readme(text: str, markers: tuple[str, str] = MARKERS) -> None:
    readme = ROOT / "README.md"
    before, begin, rest = readme.read_text(encoding="utf-8").partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise BenchError(f"README.md has no place for the numbers: {markers[0]} … {markers[1]}")
    readme.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or text == "0":
        raise BenchError(f"{name}: expected a whole number above 0, found {text!r}")
    return int(text)


def chosen() -> list[Contestant]:
    baseline = os.environ.get("BASELINE_WASM")
    module = Path(os.environ["SENTRY_FILTER_WASM"])
    for file in [module, *([Path(baseline)] if baseline else [])]:
        if not file.is_file():
            raise BenchError(f"there is no module {file}")
    empty, trimmed = module.with_name("published_sdk.wasm"), module.with_name("empty_filter.wasm")
    everyone = everybody(module, empty, trimmed, Path(baseline).resolve() if baseline else None)
    only = [name for name in (os.environ.get("ONLY") or "").split(",") if name]
    unknown = set(only) - {each.name for each in everyone}
    if unknown:
        raise BenchError(f"ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in everyone)}")
    wanted = [each for each in everyone if not only or each.name.partition("@")[0] in only or each.name in only]
    beside = {each.beside for each in wanted} if "none" in only else set()
    return [each for each in everyone if each in wanted or each.name in beside]


def main() -> int:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    is_for_readme = bool(os.environ.get("README"))
    if is_for_readme and os.environ.get("ONLY"):
        raise BenchError("README=1 wants everybody: leave ONLY out")
    with temporary_folder() as folder:
        bench = Bench(Path(folder), number("ROUNDS", 5), number("REQUESTS", 20_000), number("CONNECTIONS", 8))
        try:
            bench.start_all(chosen())
            windows = bench.run()
            note, ratios = machine(bench), floors(bench, windows)
            text = f"{note}.\n\n{table(bench, windows)}\n\n{ratios[0]}"
        finally:
            bench.end()
    write_csv(windows)
    print(text)
    if "none" in windows and len(windows) > 1:
        draw(bench, windows, note, OUTPUT / "bench.svg")
        if is_for_readme:
            draw(bench, windows, note, ROOT / "docs" / "bench.svg")
    if is_for_readme:
        into_readme(f"What a request costs beside the tracers that are compiled into Envoy (`make bench`):\n\n![CPU added a request](docs/bench.svg)\n\n{text}")
    if not ratios[1]:
        print("bench: a floor does not hold", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
