"""What a request costs as the work grows: `make bench-scaling`.

The same machinery as `make bench`: real Envoys that take turns, CPU by the kernel's account. One thing grows at a time; all others stay as they are there.

ROUNDS=3, REQUESTS=5000 (a window), ONLY=connections,rules, README=1
"""

import csv
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench import OUTPUT, Bench, Window, into_readme, machine, number
from contestants import TRACE, Contestant, everybody, wasm
from envoys import BODIES, BenchError, temporary_folder

MARKERS = ("<!-- make bench-scaling README=1: begin -->", "<!-- end of scaling -->")
BODY_REQUESTS = 500
CONNECTIONS = 8


@dataclass
class Dimension:
    name: str
    what: str
    values: list[int]
    # What becomes of a contestant at a value.
    at: Callable[[Contestant, int], Contestant]
    who: tuple[str, ...] = ("none", "otlp")


def with_baggage(contestant: Contestant, members: int) -> Contestant:
    trace = TRACE.removesuffix("0") + "1"
    baggage = ",".join(f"member{index}=value{index}" for index in range(members))
    headers = {"sentry-trace": trace} | ({"baggage": baggage} if baggage else {})
    return replace(contestant, headers=headers)


def with_rules(contestant: Contestant, rules: int) -> Contestant:
    """None of them matches, so all are tried."""
    if not contestant.filters:
        return contestant
    module = Path(os.environ["SENTRY_FILTER_WASM"])
    config = {
        "dsn": "http://49d0f7386ad645858ae85020e393bef3@receiver.example/1",
        "traces_sample_rate": 1,
        "transport": {"format": "otlp"},
        "rules": [{"match": {"path": f"^/shop{index}/[0-9]+$"}, "transaction": f"/shop{index}/{{id}}"} for index in range(rules)],
    }
    return replace(contestant, filters=[wasm(module, config)])


def with_body(contestant: Contestant, size: int) -> Contestant:
    path = next(path for path, known in BODIES.items() if known == size)
    return replace(contestant, path=path, requests=BODY_REQUESTS if size else 0)


DIMENSIONS = [
    Dimension("connections", "connections", [1, 8, 64, 512], lambda contestant, value: replace(contestant, connections=value)),
    Dimension("baggage", "members of `baggage` that arrive", [0, 4, 64], with_baggage),
    Dimension("rules", "rules, none of which matches", [0, 20, 200], with_rules),
    Dimension(
        "routes", "routes, the last of which matches", [10, 1_000], lambda contestant, value: replace(contestant, routes=value),
        who=("none", "unsampled", "otlp", "otel+upstream"),
    ),
    Dimension("body", "bytes of the response's body", [0, 1 << 20], with_body),
    Dimension("workers", "workers, on the same core", [1, 2], lambda contestant, value: replace(contestant, workers=value)),
]


def points(dimensions: list[Dimension]) -> dict[str, Contestant]:
    module = Path(os.environ["SENTRY_FILTER_WASM"])
    known = {each.name: each for each in everybody(module, module.with_name("published_sdk.wasm"), module.with_name("empty_filter.wasm"), None)}
    all_points = {}
    for dimension in dimensions:
        for value in dimension.values:
            for name in dimension.who:
                contestant = dimension.at(known[name], value)
                all_points[f"{dimension.name}-{value}-{name}"] = replace(contestant, name=f"{dimension.name}-{value}-{name}", forwards=None)
    return all_points


def measure(bench: Bench, contestants: dict[str, Contestant]) -> dict[str, list[Window]]:
    bench.start_shared(contestants)
    windows: dict[str, list[Window]] = {name: [] for name in contestants}
    for turn in range(bench.rounds):
        for name, contestant in contestants.items():
            windows[name].append(bench.window(contestant, bench.gateways[name][1]))
            print(f"round {turn + 1} of {bench.rounds}: {name}: {windows[name][-1].cpu_us:.0f} µs", file=sys.stderr)
    return windows


def table(dimension: Dimension, windows: dict[str, list[Window]]) -> str:
    others = [name for name in dimension.who if name != "none"]
    head = [dimension.what, "none", *(f"added by `{name}`" for name in others), "requests/s, none", "requests/s, `otlp`", "spans a POST"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for value in dimension.values:
        def of(name: str) -> list[Window]:
            return windows[f"{dimension.name}-{value}-{name}"]

        def median(name: str, key: str) -> float:
            return statistics.median(getattr(window, key) for window in of(name))

        def added(name: str) -> float:
            return statistics.median(one.cpu_us - none.cpu_us for one, none in zip(of(name), of("none")))

        cells = [
            f"{value:,}", f"{median('none', 'cpu_us'):.0f}", *(f"{added(name):+.0f}" for name in others), f"{median('none', 'per_second'):,.0f}",
            f"{median('otlp', 'per_second'):,.0f}", f"{median('otlp', 'spans_a_post'):,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_csv(windows: dict[str, list[Window]]) -> None:
    with (OUTPUT / "scaling.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["point", "round", "cpu_us", "requests_per_second", "p50_ms", "p99_ms", "spans_a_post"])
        for name, each in windows.items():
            for turn, one in enumerate(each, 1):
                writer.writerow([name, turn, f"{one.cpu_us:.2f}", f"{one.per_second:.0f}", one.p50, one.p99, f"{one.spans_a_post:.0f}"])


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    only = [name for name in (os.environ.get("ONLY") or "").split(",") if name]
    unknown = set(only) - {each.name for each in DIMENSIONS}
    if unknown:
        raise BenchError(f"ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in DIMENSIONS)}")
    if only and os.environ.get("README"):
        raise BenchError("README=1 wants everything: leave ONLY out")
    dimensions = [each for each in DIMENSIONS if not only or each.name in only]
    with temporary_folder() as folder:
        bench = Bench(Path(folder), number("ROUNDS", 3), number("REQUESTS", 5_000), CONNECTIONS)
        try:
            windows = measure(bench, points(dimensions))
            note = machine(bench)
        finally:
            bench.end()
    write_csv(windows)
    text = f"{note}; µs of CPU a request.\n\n" + "\n\n".join(table(each, windows) for each in dimensions)
    print(text)
    if os.environ.get("README"):
        into_readme(text, MARKERS)


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(f"bench-scaling: {error}")
