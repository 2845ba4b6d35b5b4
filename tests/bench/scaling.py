"""How the cost of a request grows with the work: `make bench-scaling`.

From one point (8 connections, 4 baggage members, no rules, 10 routes, an answer without a body, one worker) each dimension is varied alone. At every point there are
three gateways under the same requests: no filter, this filter forwarding a trace that is not sampled, and this filter continuing and recording one that is. They take
turns as in `make bench`, and are measured as there. The routes are also asked of a Lua filter that writes two request headers, once making Envoy match the route again,
as Envoy does for every filter of this ABI, and once not: the difference is what another match costs. At the end it is told how many spans a POST carries.

ROUNDS=3, REQUESTS=6000 (a window; a tenth where bodies are big), ONLY=connections,routes, DOCS=1
"""

import csv
import os
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from contestants import BAGGAGE, TRACE, Contestant, filter_of, lua
from envoys import BenchError, Envoy, gateway, temporary_folder
from measure import OUTPUT, Bench, Load, Window, into_page, machine, number

OTLP = {"format": "otlp"}
KEPT = "lua-kept"
NOISE = (
    "Each point has few windows on a machine that others use, too: a difference of less than some 30 µs between two points, "
    "a sum below zero among them, is noise."
)


@dataclass(frozen=True)
class Point:
    connections: int = 8
    members: int = 4
    rules: int = 0
    anywhere: int = 0
    path: int = 0
    routes: int = 10
    body: int = 0
    workers: int = 1

    def where(self) -> tuple[int, int, int, int]:
        """What needs a gateway of its own; the rest is the load's."""
        return self.rules, self.anywhere, self.routes, self.workers


BASE = Point()
DIMENSIONS = {
    "connections": ("connections at once", [1, 8, 64, 512]),
    "members": ("`baggage` members", [0, 4, 64]),
    "rules": ("rules, of which the last matches", [0, 20, 200]),
    "anywhere": ("rules that may match anywhere in the path, of which none does", [0, 200]),
    "path": ("bytes added to the path, with 200 such rules", [0, 8_000, 57_000]),
    "routes": ("routes, of which the last matches", [10, 1_000]),
    "body": ("bytes of the answer's body", [0, 1 << 20]),
    "workers": ("workers, on one core", [1, 2]),
}
# What else differs from the one point in a dimension.
TOGETHER = {"path": {"anywhere": 200}}
POSTS = "posts"
RATES = [10, 100, 1_000, None]
RATE_SECONDS = 5


def trace(sampled: bool, members: int) -> dict[str, str]:
    """The same bytes but for the decision."""
    headers = {"sentry-trace": TRACE[:-1] + str(int(sampled))}
    if members:
        ours = BAGGAGE.replace("sentry-sampled=false", f"sentry-sampled={str(sampled).lower()}").split(",")
        others = [f"vendor-{each}=value-{each}" for each in range(members - len(ours))]
        headers["baggage"] = ",".join(ours + others)
    return headers


def rules(point: Point) -> list[dict]:
    if point.anywhere:
        return [{"match": {"path": f"shop-{each}/[^/]+/items"}, "ignore": True} for each in range(point.anywhere)]
    count = point.rules
    misses = [{"match": {"path": f"^/shops/{each}/items/[0-9]+$"}, "transaction": f"/shops/{each}/items/{{id}}"} for each in range(1, count)]
    return [*misses, {"match": {"path": "^/nothing"}, "transaction": "/nothing"}] if count else []


def contestants(module: Path, point: Point) -> list[Contestant]:
    more = {"rules": rules(point)} if point.rules or point.anywhere else {}
    forwarded = filter_of(module, "forwarded", "forwarded", 0, trace(False, point.members), **more)
    recorded = filter_of(module, "recorded", "recorded", 1, trace(True, point.members), transport=OTLP, **more)
    none = Contestant("none", "no filter", headers=trace(False, point.members), forwards="sentry-trace")
    everybody = [none, forwarded, recorded]
    if point != replace(BASE, routes=point.routes):
        return everybody
    again, kept = lua(), lua(clears_route_cache=False)
    kept.name = KEPT
    for each in (again, kept):
        each.headers = trace(False, point.members)
    return [*everybody, again, kept]


def points(dimension: str) -> list[Point]:
    return [replace(BASE, **TOGETHER.get(dimension, {}), **{dimension: value}) for value in DIMENSIONS[dimension][1]]


class Scaling(Bench):
    def __init__(self, folder: Path, module: Path, rounds: int, requests: int) -> None:
        super().__init__(folder, always_settles=False)
        self.module, self.rounds, self.requests = module, rounds, requests
        self.service = self.start_behind()
        self.started: dict[tuple, Envoy] = {}
        self.windows: dict[tuple[Point, str], list[Window]] = {}

    def gateway(self, point: Point, contestant: Contestant) -> Envoy:
        # Rules are the filter's: without one there is nothing that they could change.
        where = (0, 0, *point.where()[2:]) if contestant.name == "none" else point.where()
        key = (contestant.name, *where)
        if key not in self.started:
            name = "-".join(map(str, key))
            self.started[key] = self.start(gateway(contestant, self.service, point.routes), name, self.gateway_cpu, point.workers)
            self.prove_forwarding(contestant, self.started[key])
        return self.started[key]

    def load_of(self, point: Point) -> Load:
        requests = max(self.requests // 10, 1) if point.body else self.requests
        path = "/big" if point.body else "/nothing" + "/shop-1" * (point.path // 7)
        return Load(max(requests, point.connections), point.connections, path)

    def measure(self, all_points: list[Point]) -> None:
        for turn in range(self.rounds):
            for point in all_points:
                for contestant in contestants(self.module, point):
                    window = self.window(contestant, self.gateway(point, contestant), self.load_of(point))
                    self.windows.setdefault((point, contestant.name), []).append(window)
            print(f"round {turn + 1} of {self.rounds}", file=sys.stderr)

    def posts(self) -> dict[int | None, Window]:
        """How many spans go together, by how many requests there are in a second."""
        recorded = next(each for each in contestants(self.module, BASE) if each.name == "recorded")
        envoy = self.gateway(BASE, recorded)
        loads = {rate: replace(self.load_of(BASE), requests=rate * RATE_SECONDS if rate else self.requests, per_second=rate) for rate in RATES}
        return {rate: self.window(recorded, envoy, load) for rate, load in loads.items()}

    def median(self, point: Point, name: str, value: str) -> float:
        return statistics.median(getattr(one, value) for one in self.windows[point, name])

    def added(self, point: Point, name: str) -> float:
        """The CPU over no filter: both of the same round, then the median of the rounds."""
        pairs = zip(self.windows[point, name], self.windows[point, "none"])
        return statistics.median(one.cpu_us - none.cpu_us for one, none in pairs)

    def spans_a_post(self, point: Point) -> float:
        return statistics.median(one.spans / one.posts for one in self.windows[point, "recorded"])

    def names(self, point: Point) -> list[str]:
        return [name for at, name in self.windows if at == point]


WHAT = {
    "none": "no filter", "forwarded": "forwarded", "recorded": "recorded, `otlp`", "lua": "a Lua filter that writes two headers",
    KEPT: "the same, without `clear_route_cache`",
}


def table(bench: Scaling, dimension: str) -> str:
    lines = [f"| {DIMENSIONS[dimension][0]} | | µs of CPU a request | added | requests/s |", "|---|---|---|---|---|"]
    for point in points(dimension):
        # Those that are there for the routes' sake are told there.
        for name in bench.names(point):
            if dimension != "routes" and name in ("lua", KEPT):
                continue
            added = "" if name == "none" else f"{bench.added(point, name):+.1f}"
            cpu, per_second = bench.median(point, name, "cpu_us"), bench.median(point, name, "per_second")
            lines.append(f"| {getattr(point, dimension):,} | {WHAT[name]} | {cpu:,.1f} | {added} | {per_second:,.0f} |")
    return "\n".join(lines)


def compact(bench: Scaling, dimensions: list[str]) -> str:
    """One line a point, for the documentation."""
    lines = ["| | | µs of CPU a request, no filter | added, forwarded | added, recorded (`otlp`) | requests/s, no filter | forwarded | recorded | spans a POST |",
             "|---|---|---|---|---|---|---|---|---|"]
    for dimension in dimensions:
        for index, point in enumerate(points(dimension)):
            cells = [DIMENSIONS[dimension][0] if index == 0 else "", f"{getattr(point, dimension):,}", f"{bench.median(point, 'none', 'cpu_us'):,.0f}"]
            cells += [f"{bench.added(point, name):+,.0f}" for name in ("forwarded", "recorded")]
            cells += [f"{bench.median(point, name, 'per_second'):,.0f}" for name in ("none", "forwarded", "recorded")]
            cells.append(f"{bench.spans_a_post(point):,.0f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def routes_told(bench: Scaling) -> str:
    """What another match of the route costs, told by the filter that can leave it out."""
    lines = ["| routes | forwarded: writes no request header | recorded: writes one | Lua, writes two | Lua, writes two, without `clear_route_cache` |", "|---|---|---|---|---|"]
    for point in points("routes"):
        added = " | ".join(f"{bench.added(point, name):+.1f}" for name in ("forwarded", "recorded", "lua", KEPT))
        lines.append(f"| {point.routes:,} | {added} |")
    return "\n".join(lines)


def posts_told(windows: dict[int | None, Window]) -> str:
    lines = ["| requests/s | spans a second | POSTs | spans a POST |", "|---|---|---|---|"]
    for window in windows.values():
        lines.append(f"| {window.per_second:,.0f} | {2 * window.per_second:,.0f} | {window.posts:,} | {window.spans / window.posts:,.0f} |")
    return "\n".join(lines)


def write_csv(bench: Scaling, dimensions: list[str]) -> None:
    with (OUTPUT / "scaling.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dimension", "value", "contestant", "round", "cpu_us", "requests_per_second", "p50_ms", "p99_ms", "p999_ms", "spans", "posts"])
        for dimension in dimensions:
            for point in points(dimension):
                for name in bench.names(point):
                    for turn, one in enumerate(bench.windows[point, name], 1):
                        writer.writerow([dimension, getattr(point, dimension), name, turn, f"{one.cpu_us:.2f}", f"{one.per_second:.0f}", one.p50, one.p99, one.p999, one.spans, one.posts])


def chosen() -> list[str]:
    known = [*DIMENSIONS, POSTS]
    only = [name for name in (os.environ.get("ONLY") or "").split(",") if name]
    if unknown := set(only) - set(known):
        raise BenchError(f"ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [name for name in known if not only or name in only]


def main() -> int:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    module = Path(os.environ["SENTRY_FILTER_WASM"])
    if not module.is_file():
        raise BenchError(f"there is no module {module}")
    wanted = chosen()
    dimensions = [name for name in wanted if name != POSTS]
    is_for_docs = bool(os.environ.get("DOCS"))
    if is_for_docs and os.environ.get("ONLY"):
        raise BenchError("DOCS=1 wants every dimension: leave ONLY out")
    with temporary_folder() as folder:
        bench = Scaling(Path(folder), module, number("ROUNDS", 3), number("REQUESTS", 6_000))
        try:
            # The point where they meet is measured once a round.
            bench.measure(list(dict.fromkeys(point for name in dimensions for point in points(name))))
            posts = bench.posts() if POSTS in wanted else {}
            note = machine(bench, f"{bench.rounds} rounds of {bench.requests:,} requests each; medians")
        finally:
            bench.end()
    write_csv(bench, dimensions)
    told = [f"{note}.", *(table(bench, name) for name in dimensions)]
    if posts:
        told.append(posts_told(posts))
    print("\n\n".join(told))
    if is_for_docs:
        parts = [
            "How that grows, each dimension alone from one point (`make bench-scaling`):", f"{note}. {NOISE}", compact(bench, dimensions),
            "Every write to a request header makes Envoy match the route again, for a filter of this ABI. The filter writes none that does not change: one that only forwards writes "
            "none at all, one that records has `sentry-trace` to write. µs of CPU added a request:",
            routes_told(bench), "How many spans go together in `otlp`, of one worker, with a flush interval of a second:", posts_told(posts),
        ]
        into_page("bench-scaling", "\n\n".join(parts))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench-scaling: {error}")
