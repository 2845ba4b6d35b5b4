"""Whether a machine was quiet enough for its numbers to mean anything, and how far off a number may be."""

import os
import random
import statistics
from dataclasses import dataclass, field

# Of the cores' time, what others may have taken while a window was measured.
OTHERS_AT_MOST = 0.10
# How far apart the middle half of the windows without a filter may be, as a share of their median.
# What is told of a filter is a difference to them.
SPREAD_AT_MOST = 0.10
# Resampled rounds, and what part of them is left out at each end.
SAMPLES, LEFT_OUT = 500, 0.1


def busy_seconds() -> float:
    """What all processes of the machine have had of its cores, with what a hypervisor took away."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@dataclass
class Others:
    """What others took of the machine while it was measured: of each window, the share of all cores."""

    shares: list[float] = field(default_factory=list)

    def note(self, busy: float, ours: float, elapsed: float) -> None:
        self.shares.append(max(0.0, busy - ours) / (elapsed * (os.cpu_count() or 1)))

    def median(self) -> float:
        return statistics.median(self.shares) if self.shares else 0.0


def middle_half(values: list[float]) -> float:
    """How far apart the middle half of the values is, as a share of their median."""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return (third - first) / statistics.median(values)


def complaints(none: list[float], others: Others) -> list[str]:
    """Why the numbers mean nothing; nothing if they do. `none` is the CPU of the windows without a filter."""
    found = []
    if (share := others.median()) > OTHERS_AT_MOST:
        found.append(f"other processes took {share:.0%} of the cores (at most {OTHERS_AT_MOST:.0%})")
    if (share := middle_half(none)) > SPREAD_AT_MOST:
        found.append(f"without a filter the middle half of the windows is {share:.0%} apart (at most {SPREAD_AT_MOST:.0%})")
    return found


def interval(rounds: int, told, seed: int = 1) -> tuple[float, float]:
    """How far off a number may be that is told of rounds: `told` is asked about rounds drawn from those, again and again; the outer tenths are left out."""
    draw = random.Random(seed)
    values = sorted(told([draw.randrange(rounds) for _ in range(rounds)]) for _ in range(SAMPLES))
    return values[int(SAMPLES * LEFT_OUT)], values[int(SAMPLES * (1 - LEFT_OUT)) - 1]
