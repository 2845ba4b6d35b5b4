"""What a request costs: `make bench`, and each option: `make bench-prices`.

Each contestant is an Envoy process of its own. They take turns, one window each, in another order each round, so that what else the machine does hits all alike.
What is told is the CPU time of the gateway's process by the kernel's account, from the first request of a window until its spans have left. The gateway has one core
to itself; the load, the service and the receiver share another. A run fails if a contestant did not do its job: forwarded no trace, lost a span, failed a request.

On a machine that others keep busy the numbers mean nothing: then that is said, and no floor is judged (status 77; JUDGE=1 judges all the same).

ROUNDS=5 (3 for the prices), REQUESTS=20000 (a window), CONNECTIONS=8, SEED=1 (of the order), DOCS=1, BASELINE_WASM=path, BASELINE_SO=path (others, as `wasm-1@baseline` and so on)
ONLY=rates,none,dynamic-0.1 (names and sets: rates is the default; floors, settings, prices, others, all)
"""

import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import report
from contestants import PRICES, SETS, Contestant, everybody
from envoys import BenchError, Envoy, gateway, temporary_folder
from floors import Verdicts, Windows, judge, judge_ready, judge_size
from measure import OUTPUT, ROOT, Bench, Load, into_page, machine, number
from noise import Others, busy_seconds, complaints

NOT_JUDGED = 77
STARTS = 7  # Of Envoy, in turns without the filter and with it.
BASELINE = "@baseline"


class Race(Bench):
    """Everybody's gateway, all under the same load."""

    def __init__(self, folder: Path, rounds: int, load: Load, seed: int) -> None:
        super().__init__(folder, always_settles=False)
        self.rounds, self.each, self.order = rounds, load, random.Random(seed)
        self.gateways: dict[str, tuple[Contestant, Envoy]] = {}
        self.others = Others()

    def contestants(self) -> dict[str, Contestant]:
        return {name: contestant for name, (contestant, _) in self.gateways.items()}

    def start_all(self, contestants: list[Contestant]) -> None:
        service = self.start_behind()
        for each in contestants:
            self.gateways[each.name] = each, self.start(gateway(each, service), each.name, self.gateway_cpu, each.workers)

    def measure_starts(self, contestants: list[Contestant]) -> dict[str, list[float]]:
        """Seconds until each is ready, in turns."""
        ready: dict[str, list[float]] = {}
        service = self.start_behind()
        for turn in range(STARTS + 1):
            for each in contestants:
                envoy = self.start(gateway(each, service), f"{each.name}-ready", self.gateway_cpu)
                # The first one also reads its files from the disk.
                if turn:
                    ready.setdefault(each.name, []).append(envoy.start_seconds)
                self.envoys.remove(envoy)
                envoy.end()
        return ready

    def ours(self) -> float:
        """What this run has had of the cores: its Envoys, its clients, itself."""
        return sum(envoy.cpu_seconds() for envoy in self.envoys) + sum(os.times()[:4])

    def run(self) -> Windows:
        for contestant, envoy in self.gateways.values():
            self.prove_forwarding(contestant, envoy)
        windows: Windows = {name: [] for name in self.gateways}
        for number in range(self.rounds):
            turns = list(self.gateways)
            self.order.shuffle(turns)
            for name in turns:
                contestant, envoy = self.gateways[name]
                busy, ours, began = busy_seconds(), self.ours(), time.monotonic()
                windows[name].append(self.window(contestant, envoy, self.each))
                self.others.note(busy_seconds() - busy, self.ours() - ours, time.monotonic() - began)
            told = ", ".join(f"{name} {each[-1].cpu_us:.0f}" for name, each in windows.items())
            print(f"round {number + 1} of {self.rounds}: µs of CPU a request: {told}", file=sys.stderr)
        return windows


def library_path(name: str) -> Path | None:
    file = os.environ.get(name)
    if file and not Path(file).is_file():
        raise BenchError(f"{name}: there is no module {file}")
    return Path(file).resolve() if file else None


def chosen(everyone: list[Contestant], only: str) -> list[Contestant]:
    """Who is named, with those whose requests they get without a filter, if `none` is there at all."""
    known = {each.name: each for each in everyone}
    sets = SETS | {"all": [name for names in SETS.values() for name in names]}
    words = [word for word in only.split(",") if word] or ["rates"]
    if unknown := {word for word in words if word not in sets and word not in known}:
        raise BenchError(f"ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join([*sets, *known])}")
    names = dict.fromkeys(name for word in words for name in sets.get(word, [word]))
    # A baseline runs where its other one does.
    names |= dict.fromkeys(name + BASELINE for name in names if name + BASELINE in known)
    if "none" in names:
        names |= dict.fromkeys(known[name].beside for name in names)
    return [each for each in everyone if each.name in names]


def main() -> int:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    is_for_docs, is_judged = bool(os.environ.get("DOCS")), bool(os.environ.get("JUDGE"))
    target = "bench-prices" if "prices" in sys.argv[1:] else "bench"
    if is_for_docs and os.environ.get("ONLY"):
        raise BenchError("DOCS=1 wants everybody: leave ONLY out")
    module, library = library_path("SENTRY_FILTER_WASM"), library_path("SENTRY_FILTER_SO")
    if not module or not library:
        raise BenchError("SENTRY_FILTER_WASM and SENTRY_FILTER_SO name the modules: make bench does")
    folder_of = (module.with_name("published_sdk.wasm"), module.with_name("empty_filter.wasm"))
    everyone = everybody(module, library, *folder_of, library_path("BASELINE_WASM"), library_path("BASELINE_SO"))
    if target == "bench-prices" and not os.environ.get("ONLY"):
        groups = [chosen(everyone, ",".join(names)) for names in PRICES]
    else:
        groups = [chosen(everyone, os.environ.get("ONLY") or "")]
    run = Run(target)
    for group in groups:
        measure(run, group, number("ROUNDS", 5 if target == "bench" else 3))
    report.write_csv(run.groups, target)
    return tell(run, is_for_docs, is_judged, module)


@dataclass
class Run:
    """What was measured, one group after the other."""

    target: str
    note: str = ""
    contestants: dict[str, Contestant] = field(default_factory=dict)
    groups: list[Windows] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    # Seconds until Envoy is ready, without a filter and with the dynamic module.
    ready: dict[str, list[float]] = field(default_factory=dict)


def measure(run: Run, group: list[Contestant], rounds: int) -> None:
    with temporary_folder() as folder:
        bench = Race(Path(folder), rounds, Load(number("REQUESTS", 20_000), number("CONNECTIONS", 8)), number("SEED", 1))
        try:
            ready = [each for each in group if each.name in ("none", "dynamic-1")]
            if len(ready) == 2 and run.target == "bench":
                run.ready = bench.measure_starts(ready)
            bench.start_all(group)
            windows = bench.run()
            how = f"{bench.each.connections} connections, {bench.rounds} rounds of {bench.each.requests:,} requests each; medians (least–most)"
            run.note = machine(bench, how)
        finally:
            bench.end()
    run.groups.append(windows)
    run.contestants |= bench.contestants()
    run.busy += [each for each in complaints([one.cpu_us for one in windows.get("none", [])], bench.others) if each not in run.busy]


def judged(run: Run, module: Path) -> Verdicts:
    """The ratios that were measured, and with them what needs no requests."""
    verdicts = judge(run.groups[0])
    if run.ready:
        judge_ready(verdicts, *run.ready.values())
    if verdicts.rows and module.is_file():
        judge_size(verdicts, module)
    return verdicts


def tell(run: Run, is_for_docs: bool, is_judged: bool, module: Path) -> int:
    verdicts, note = judged(run, module), run.note
    if run.busy:
        note += f". **The machine was busy, so these numbers say little**: {'; '.join(run.busy)}"
    parts = [f"{note}."]
    if run.target == "bench-prices":
        parts.append(report.prices(run.groups))
    elif report.has_rates(run.groups[0]):
        parts += [report.by_rate(run.groups[0]), verdicts.table()]
        report.draw(run.groups[0], note, OUTPUT / "bench.svg")
    elif verdicts.rows:
        parts.append(verdicts.table())
    print("\n\n".join([*parts, *(report.table(run.contestants, windows) for windows in run.groups)]))
    if is_for_docs:
        if run.target == "bench":
            report.draw(run.groups[0], note, ROOT / "docs" / "bench.svg")
            parts.insert(0, "![µs of CPU added a request, at four rates](bench.svg)")
        into_page(run.target, "\n\n".join(parts))
    if run.target == "bench-prices":
        return 0
    if run.busy and not is_judged:
        print(f"bench: NOT JUDGED, the machine was too busy: {'; '.join(run.busy)}", file=sys.stderr)
        return NOT_JUDGED
    for each in verdicts.broken:
        print(f"bench: a floor does not hold: {each}", file=sys.stderr)
    return 1 if verdicts.broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
