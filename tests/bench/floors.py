"""The floors and goals of the project (docs/spec/filter.md §10), and whether they hold.

Each is a ratio of two contestants of one run. It is told with how far off it may be, by drawing rounds from those that were measured.
"""

import gzip
import statistics
from dataclasses import dataclass
from pathlib import Path

from measure import Window
from noise import interval

Windows = dict[str, list[Window]]


@dataclass(frozen=True)
class Ratio:
    what: str
    against: str
    floor: float
    goal: float
    # The CPU that is added, at most; or else the requests in a second, at least.
    is_added: bool = True

    def holds(self, ratio: float, bound: float) -> bool:
        return ratio <= bound if self.is_added else ratio >= bound

    def told(self, windows: Windows, what: str, rounds: list[int]) -> float:
        if not self.is_added:
            return statistics.median(windows[what][each].per_second / windows[self.against][each].per_second for each in rounds)
        base = added(windows, self.against, rounds)
        # Noise alone makes a request cheaper with a tracer than without one.
        return added(windows, what, rounds) / base if base > 0 else float("inf")


RATIOS = [
    Ratio("dynamic-1", "native-1", 0.45, 0.30),
    Ratio("dynamic-1", "native-batched-1", 0.60, 0.40),
    Ratio("dynamic-0", "native-1", 0.20, 0.10),
    Ratio("dynamic-0.1", "native-0.1", 1.0, 0.6),
    Ratio("wasm-0.1", "native-0.1", 2.2, 1.5),
    Ratio("wasm-1", "native-1", 1.15, 0.85),
    Ratio("wasm-transaction", "native-1", 2.0, 1.5),
    Ratio("wasm-0", "native-1", 0.60, 0.40),
    Ratio("dynamic-1", "none", 0.80, 0.90, is_added=False),
    Ratio("wasm-1", "none", 0.60, 0.70, is_added=False),
]
READY_AT_MOST = 1.2
MODULE_BYTES, MODULE_GOAL, GZIPPED_BYTES = 700_000, 450_000, 240_000


def added(windows: Windows, name: str, rounds: list[int], beside: str = "none") -> float:
    """The CPU over no filter at all: both of the same round, then the median of the rounds."""
    return statistics.median(windows[name][each].cpu_us - windows[beside][each].cpu_us for each in rounds)


@dataclass
class Verdicts:
    """A table, and what of it does not hold."""

    rows: list[str]
    broken: list[str]

    def add(self, what: str, measured: str, sign: str, floor: str, holds: bool, goal: str, is_reached: bool | None, counts: bool = True) -> None:
        reached = "" if is_reached is None else yes(is_reached)
        self.rows.append(f"| {what} | {measured} | {sign} {floor} | {yes(holds)} | {f'{sign} {goal}' if goal else ''} | {reached} |")
        if not holds and counts:
            self.broken.append(f"{what}: {measured} instead of {sign} {floor}")

    def table(self) -> str:
        return "\n".join(["| ratio | measured (of rounds drawn anew) | floor | holds | goal | reached |", "|---|---|---|---|---|---|", *self.rows])


def yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def judge(windows: Windows) -> Verdicts:
    """Every ratio whose two contestants were measured; a baseline is told and not judged."""
    verdicts = Verdicts([], [])
    for ratio in RATIOS if "none" in windows else []:
        for what in (ratio.what, ratio.what + "@baseline"):
            if what not in windows or ratio.against not in windows:
                continue
            every = list(range(len(windows[what])))
            value = ratio.told(windows, what, every)
            low, high = interval(len(every), lambda rounds: ratio.told(windows, what, rounds))
            name = f"{'CPU added' if ratio.is_added else 'requests/s'}, `{what}` / `{ratio.against}`"
            verdicts.add(
                name, f"{value:.2f} ({low:.2f}–{high:.2f})", "≤" if ratio.is_added else "≥", f"{ratio.floor:.2f}", ratio.holds(value, ratio.floor),
                f"{ratio.goal:.2f}", ratio.holds(value, ratio.goal), counts=what == ratio.what,
            )
    return verdicts


def judge_ready(verdicts: Verdicts, without: list[float], dynamic: list[float]) -> None:
    """How long Envoy takes until it is ready, in turns without the filter and with it."""
    ratio = statistics.median(dynamic) / statistics.median(without)
    told = f"{ratio:.2f} ({statistics.median(without) * 1e3:.0f} → {statistics.median(dynamic) * 1e3:.0f} ms)"
    verdicts.add("Envoy ready with the dynamic module", told, "≤", f"{READY_AT_MOST:.2f}", ratio <= READY_AT_MOST, "", None)


def judge_size(verdicts: Verdicts, module: Path) -> None:
    code = module.read_bytes()
    size, gzipped = len(code), len(gzip.compress(code, 9, mtime=0))
    verdicts.add("Wasm module, bytes", f"{size:,}", "≤", f"{MODULE_BYTES:,}", size <= MODULE_BYTES, f"{MODULE_GOAL:,}", size <= MODULE_GOAL)
    verdicts.add("Wasm module, bytes gzipped", f"{gzipped:,}", "≤", f"{GZIPPED_BYTES:,}", gzipped <= GZIPPED_BYTES, "", None)
