"""What a request costs: `make bench`.

Each contestant is an Envoy process of its own. They take turns, one window each, for several rounds, so that what else the machine does hits all alike.
What is told is the CPU time of the gateway's process by the kernel's account, from the first request of a window until its spans have left. The gateway has one core
to itself; the load, the service and the receiver share another. A run fails if a contestant did not do its job: forwarded no trace, lost a span, failed a request.

ROUNDS=5, REQUESTS=20000 (a window), CONNECTIONS=8, ONLY=none,empty,otlp, BASELINE_WASM=path (another module, as `otlp@baseline` and so on), DOCS=1
"""

import csv
import os
import statistics
import sys
from pathlib import Path

from contestants import Contestant, everybody
from envoys import BenchError, Envoy, gateway, temporary_folder
from measure import OUTPUT, ROOT, Bench, Load, Window, into_page, machine, number, spread

# The floors and goals of the project: what, by whom, against whom, at most (docs/spec/filter.md
# §10).
ADDED_AT_MOST = [("otlp", "otel+upstream", 1.15, 0.85), ("transaction", "otel+upstream", 2.0, 1.5),
                 ("unsampled", "otel+upstream", 0.60, 0.40),
                 ("dynamic-otlp", "otel+upstream", 0.45, 0.30), ("dynamic-otlp", "otel-batched", 0.60, 0.40),
                 ("dynamic-unsampled", "otel+upstream", 0.20, 0.10)]
THROUGHPUT_AT_LEAST = [("otlp", "none", 0.60, 0.70), ("dynamic-otlp", "none", 0.80, 0.90)]


class Race(Bench):
    """Everybody's gateway, all under the same load."""

    def __init__(self, folder: Path, rounds: int, load: Load) -> None:
        super().__init__(folder)
        self.rounds, self.each = rounds, load
        self.gateways: dict[str, tuple[Contestant, Envoy]] = {}

    def added(self, windows: dict[str, list[Window]], name: str) -> float:
        """The CPU over no filter at all: both of the same round, then the median of the rounds."""
        base = windows[self.gateways[name][0].beside]
        return statistics.median(one.cpu_us - none.cpu_us for one, none in zip(windows[name], base))

    def start_all(self, contestants: list[Contestant]) -> None:
        service = self.start_behind()
        for each in contestants:
            self.gateways[each.name] = each, self.start(gateway(each, service), each.name.replace("+", "-"), self.gateway_cpu)

    def run(self) -> dict[str, list[Window]]:
        for contestant, envoy in self.gateways.values():
            self.prove_forwarding(contestant, envoy)
        windows: dict[str, list[Window]] = {name: [] for name in self.gateways}
        for number in range(self.rounds):
            for name, (contestant, envoy) in self.gateways.items():
                windows[name].append(self.window(contestant, envoy, self.each))
            told = ", ".join(f"{name} {each[-1].cpu_us:.0f}" for name, each in windows.items())
            print(f"round {number + 1} of {self.rounds}: µs of CPU a request: {told}", file=sys.stderr)
        return windows


def table(bench: Race, windows: dict[str, list[Window]]) -> str:
    lines = ["| | µs of CPU a request | added | requests/s | p50 ms | p99 ms | p99.9 ms | RSS MiB |", "|---|---|---|---|---|---|---|---|"]
    for name, each in windows.items():
        contestant, envoy = bench.gateways[name]
        adds = bool(contestant.filters or contestant.tracing) and contestant.beside in windows
        more = f"{bench.added(windows, name):+.1f}" if adds else ""
        tail = " | ".join(f"{statistics.median(getattr(one, key) for one in each):.2f}" for key in ("p50", "p99", "p999"))
        lines.append(
            f"| {contestant.what} (`{name}`) | {spread([one.cpu_us for one in each], 1)} | {more} | {spread([one.per_second for one in each], 0)} | {tail} "
            f"| {envoy.resident_bytes() / 2**20:.0f} |"
        )
    return "\n".join(lines)


def without_floors(table: str) -> str:
    """The ratios with what was measured alone, for the documentation."""
    return "\n".join("|".join(line.split("|")[:3]) + "|" for line in table.splitlines())


def floors(bench: Race, windows: dict[str, list[Window]]) -> tuple[str, bool]:
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


def write_csv(windows: dict[str, list[Window]]) -> None:
    with (OUTPUT / "bench.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["contestant", "round", "cpu_us", "requests_per_second", "p50_ms", "p99_ms", "p999_ms"])
        for name, each in windows.items():
            for number, one in enumerate(each, 1):
                writer.writerow([name, number, f"{one.cpu_us:.2f}", f"{one.per_second:.0f}", one.p50, one.p99, one.p999])


def draw(bench: Race, windows: dict[str, list[Window]], note: str, file: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    contestants = [contestant for contestant, _ in bench.gateways.values()]
    names = [each.name for each in contestants if each.filters or each.tracing]
    names.sort(key=lambda name: bench.added(windows, name), reverse=True)
    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(names) + 1.2))
    values = [bench.added(windows, name) for name in names]
    native = ("otel", "otel+upstream", "otel-batched", "zipkin", "lua")
    bars = axes.barh(names, values, color=["#9aa0a6" if name in native else "#6c5fc7" for name in names])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xlabel("µs of CPU a request, added to Envoy without a filter")
    axes.set_title(note.partition(",")[0] + ": this filter, and what is compiled into Envoy (grey)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def chosen() -> list[Contestant]:
    baseline = os.environ.get("BASELINE_WASM")
    module = Path(os.environ["SENTRY_FILTER_WASM"])
    library = Path(os.environ["SENTRY_FILTER_SO"])
    for file in [module, library, *([Path(baseline)] if baseline else [])]:
        if not file.is_file():
            raise BenchError(f"there is no module {file}")
    empty, trimmed = module.with_name("published_sdk.wasm"), module.with_name("empty_filter.wasm")
    everyone = everybody(module, library, empty, trimmed, Path(baseline).resolve() if baseline else None)
    only = [name for name in (os.environ.get("ONLY") or "").split(",") if name]
    unknown = set(only) - {each.name for each in everyone}
    if unknown:
        raise BenchError(f"ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in everyone)}")
    wanted = [each for each in everyone if not only or each.name.partition("@")[0] in only or each.name in only]
    beside = {each.beside for each in wanted} if "none" in only else set()
    return [each for each in everyone if each in wanted or each.name in beside]


def main() -> int:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    is_for_docs = bool(os.environ.get("DOCS"))
    if is_for_docs and os.environ.get("ONLY"):
        raise BenchError("DOCS=1 wants everybody: leave ONLY out")
    with temporary_folder() as folder:
        bench = Race(Path(folder), number("ROUNDS", 5), Load(number("REQUESTS", 20_000), number("CONNECTIONS", 8)))
        try:
            bench.start_all(chosen())
            windows = bench.run()
            how = f"{bench.each.connections} connections, {bench.rounds} rounds of {bench.each.requests:,} requests each; medians (least–most)"
            note, ratios = machine(bench, how), floors(bench, windows)
            measured = f"{note}.\n\n{table(bench, windows)}"
        finally:
            bench.end()
    write_csv(windows)
    print(f"{measured}\n\n{ratios[0]}")
    if "none" in windows and len(windows) > 1:
        draw(bench, windows, note, OUTPUT / "bench.svg")
        if is_for_docs:
            draw(bench, windows, note, ROOT / "docs" / "bench.svg")
    if is_for_docs:
        what = "What a request costs beside the tracers that are compiled into Envoy (`make bench`):\n\n![CPU added a request](bench.svg)"
        into_page("bench", f"{what}\n\n{measured}\n\n{without_floors(ratios[0])}")
    if not ratios[1]:
        print("bench: a floor does not hold", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
