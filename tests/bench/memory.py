"""What the filter keeps and how long it takes to be there: `make bench-memory`.

Bytes of a VM, of a live request and of a queued trace come from the in-process host, where they are the same each time. What Envoy's process has and when it is ready
comes from real Envoys, started in turns with and without the filter, with one worker and with more: what another one adds is what a worker costs. That Envoy compiles
the module before it is ready is most of the time that a filter adds to its start.

ROUNDS=5, DOCS=1
"""

import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

from contestants import Contestant, filter_of
from envoys import BenchError, gateway, temporary_folder
from measure import OUTPUT, ROOT, Bench, Load, into_page, machine, number

WORKERS = [1, 2, 4]
REQUESTS = 2_000


class Starts(Bench):
    def __init__(self, folder: Path, module: Path) -> None:
        super().__init__(folder)
        self.service = self.start_behind()
        none = Contestant("none", "no filter")
        self.contestants = [none, filter_of(module, "recorded", "this filter", 1, transport={"format": "otlp"})]
        # By contestant and workers: seconds until ready, and bytes in memory then and after some
        # requests.
        self.seconds: dict[tuple[str, int], list[float]] = {}
        self.fresh: dict[tuple[str, int], list[float]] = {}
        self.used: dict[tuple[str, int], list[float]] = {}

    def measure(self, rounds: int) -> None:
        for turn in range(rounds):
            for workers in WORKERS:
                for contestant in self.contestants:
                    key = contestant.name, workers
                    envoy = self.start(gateway(contestant, self.service), f"{contestant.name}-{workers}", self.gateway_cpu, workers)
                    self.seconds.setdefault(key, []).append(envoy.start_seconds)
                    self.fresh.setdefault(key, []).append(envoy.resident_bytes())
                    self.load(contestant, envoy, Load(REQUESTS, 64))
                    self.used.setdefault(key, []).append(envoy.resident_bytes())
                    self.envoys.remove(envoy)
                    envoy.end()
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)

    def per_worker(self, values: dict[tuple[str, int], list[float]], name: str) -> float:
        """What one more worker adds, from the fewest to the most."""
        least, most = WORKERS[0], WORKERS[-1]
        return (statistics.median(values[name, most]) - statistics.median(values[name, least])) / (most - least)


def weights() -> list[tuple[str, int]]:
    command = [os.environ.get("CARGO", "cargo"), "run", "--quiet", "--locked", "-p", "wasm-host", "--bin", "memory"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchError(f"the in-process host failed:\n{run.stderr}")
    lines = (line.partition("\t") for line in run.stdout.splitlines())
    return [(what, int(size)) for size, _, what in lines]


def table_of(weights: list[tuple[str, int]]) -> str:
    rows = [f"| {what} | {size:,} |" for what, size in weights]
    return "\n".join(["| in the module's memory | bytes |", "|---|---|", *rows])


def table(starts: Starts) -> str:
    lines = ["| Envoy, without a filter and with this one | without | with | ratio |", "|---|---|---|---|"]

    def row(what: str, without: float, with_filter: float, digits: int) -> None:
        ratio = f"{with_filter / without:.2f}" if without > 0 else ""
        lines.append(f"| {what} | {without:,.{digits}f} | {with_filter:,.{digits}f} | {ratio} |")

    for workers in WORKERS:
        told = "1 worker" if workers == 1 else f"{workers} workers"
        milliseconds = (1e3 * statistics.median(starts.seconds[name, workers]) for name in ("none", "recorded"))
        row(f"ms from start to ready, {told}", *milliseconds, 0)
    for what, values in (("when it is ready", starts.fresh), (f"after {REQUESTS:,} requests", starts.used)):
        row(f"MiB {what}, 1 worker", *(statistics.median(values[name, 1]) / 2**20 for name in ("none", "recorded")), 0)
    # What nobody has written to yet takes no memory: a worker's VM shows when it has worked.
    row("MiB that one more worker adds by then", *(starts.per_worker(starts.used, name) / 2**20 for name in ("none", "recorded")), 1)
    return "\n".join(lines)


def write_csv(starts: Starts, weights: list[tuple[str, int]]) -> None:
    with (OUTPUT / "memory.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "workers", "round", "seconds_to_ready", "bytes_when_ready", "bytes_after_requests"])
        for (name, workers), seconds in starts.seconds.items():
            for turn, values in enumerate(zip(seconds, starts.fresh[name, workers], starts.used[name, workers]), 1):
                writer.writerow([name, workers, turn, f"{values[0]:.3f}", *values[1:]])
        for what, size in weights:
            writer.writerow([what, "", "", "", size, ""])


def main() -> int:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    module = Path(os.environ["SENTRY_FILTER_WASM"])
    if not module.is_file():
        raise BenchError(f"there is no module {module}")
    rounds = number("ROUNDS", 5)
    weighed = weights()
    with temporary_folder() as folder:
        starts = Starts(Path(folder), module)
        try:
            starts.measure(rounds)
        finally:
            starts.end()
    write_csv(starts, weighed)
    note = machine(starts, f"medians of {rounds} starts each, all workers on one core")
    print(f"{table_of(weighed)}\n\n{note}.\n\n{table(starts)}")
    if os.environ.get("DOCS"):
        parts = [
            "What it keeps (`make bench-memory`): in the module's own memory, counted in the in-process host and the same each time "
            "(a queued trace has two spans, and `make test-host` holds each to a budget),", table_of(weighed),
            "and what a process of Envoy's has. The time to ready is mostly V8 compiling the module, once for all workers; each worker and the main thread have a VM.", f"{note}.", table(starts),
        ]
        into_page("bench-memory", "\n\n".join(parts))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench-memory: {error}")
