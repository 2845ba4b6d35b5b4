"""Tells what `make mutants` found: report.py FOLDER EXPLAINED.

A mutant is caught if a test fails, or never ends, with it. One that survives is a missing test, or changes nothing that anybody could see; those are
named in the file of explained ones, a line each: the mutant, two spaces, `#` and why. Places are left out of the names there, since lines move.
"""

import re
import sys
from collections import Counter
from pathlib import Path

PLACE = re.compile(r":\d+:\d+: ")


def lines(file: Path) -> set[str]:
    return set(file.read_text(encoding="utf-8").splitlines()) if file.exists() else set()


def area(mutant: str) -> str:
    """The module of the core that it is in."""
    return re.split(r"[/.]", mutant.removeprefix("filter/core/src/"))[0]


def explained(file: Path) -> set[str]:
    texts = (line.partition("  #")[0].strip() for line in lines(file))
    return {text for text in texts if text}


def main() -> int:
    folder, reasons = Path(sys.argv[1]), explained(Path(sys.argv[2]))
    found, everything = folder / "mutants.out", lines(folder / "all.txt")
    caught = lines(found / "previously_caught.txt") | lines(found / "caught.txt") | lines(found / "timeout.txt")
    unviable, missed = lines(folder / "unviable.txt"), lines(folder / "survivors.txt") - caught
    everything |= caught | missed | unviable
    harmless = {mutant for mutant in missed if PLACE.sub(": ", mutant) in reasons}
    kinds = {"caught": caught - unviable, "missed": missed - harmless, "explained": harmless, "do not compile": unviable}
    kinds["not run"] = everything - set().union(*kinds.values())
    counts = {kind: Counter(map(area, mutants)) for kind, mutants in kinds.items()}
    print(f"| | mutants | {' | '.join(kinds)} |\n|{'---|' * (len(kinds) + 2)}")
    for name in sorted(set(map(area, everything))):
        numbers = [counts[kind][name] for kind in kinds]
        print(f"| {name} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    print(f"| all | {len(everything)} | {' | '.join(str(len(mutants)) for mutants in kinds.values())} |")
    for mutant in sorted(kinds["missed"]):
        print(f"no test notices: {mutant}")
    return 1 if kinds["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
