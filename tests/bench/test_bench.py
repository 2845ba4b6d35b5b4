"""The tables of `make bench`, from windows that nobody measured: whoever is chosen by ONLY, there is a table."""

import itertools
import unittest
from pathlib import Path
from types import SimpleNamespace

from bench import Race, floors, table
from contestants import everybody
from measure import Load, Window

EVERYBODY = everybody(Path("ours.wasm"), Path("ours.so"), Path("published.wasm"), Path("empty.wasm"), Path("baseline.wasm"))


def race(names: list[str]) -> tuple[Race, dict[str, list[Window]]]:
    """Each costs a microsecond more than the one before it, in two rounds."""
    bench = Race(Path("nowhere"), 2, Load(1, 1))
    envoy = SimpleNamespace(resident_bytes=lambda: 1 << 20)
    bench.gateways = {each.name: (each, envoy) for each in EVERYBODY if each.name in names}
    windows = {
        name: [Window(100.0 + number, 1_000.0, [1.0, 2.0], 0, 0) for _ in range(2)]
        for number, name in enumerate(bench.gateways)
    }
    return bench, windows


class Tables(unittest.TestCase):
    def test_any_one_or_two_have_a_table(self) -> None:
        names = [each.name for each in EVERYBODY]
        for chosen in [*([name] for name in names), *map(list, itertools.combinations(names, 2))]:
            with self.subTest(chosen=chosen):
                bench, windows = race(chosen)
                rows = table(bench, windows).splitlines()[2:]
                self.assertEqual(len(rows), len(chosen))

    def test_what_is_added_is_told_only_beside_what_it_is_added_to(self) -> None:
        for chosen, added in [(["otel"], ""), (["none", "otel"], "+1.0"), (["none", "lua"], ""), (["none-traced", "lua"], "+1.0"),
                              (["none", "otlp"], "+1.0"), (["none"], "")]:
            with self.subTest(chosen=chosen):
                bench, windows = race(chosen)
                last = table(bench, windows).splitlines()[-1]
                self.assertEqual(last.split("|")[3].strip(), added)

    def test_a_floor_that_does_not_hold_is_told(self) -> None:
        bench, windows = race(["none", "otlp", "otel+upstream"])
        for one in windows["otlp"]:
            one.cpu_us = 200.0
        lines, all_hold = floors(bench, windows)
        self.assertFalse(all_hold)
        self.assertIn("**no**", lines)

    def test_without_no_filter_there_is_no_ratio(self) -> None:
        bench, windows = race(["otlp", "otel+upstream"])
        self.assertEqual(floors(bench, windows)[0].count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
