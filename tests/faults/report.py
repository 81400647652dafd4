"""`python -m tests.faults.report [FILE]`: the table of a long run, from the lines that the runs left. Part of `make faults`.

Prints it, and writes it between the two marks of docs/reliability.md.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.history import RUNS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGINS, ENDS = "<!-- the table of the last long run -->", "<!-- its end -->"
_COLUMNS = (
    "what fails | database | times | broken promises | 95 % bound | calls | calls disturbed | workers killed | trials | seeds"
)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """One row a kind of fault and database. With no failure in N, the failure rate is below about 3/N (95 %)."""
    rows = defaultdict(list)
    for line in lines:
        rows[line["run"], line["database"]].append(line)
    titles = _COLUMNS.split(" | ")
    text = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for (run, database), of_row in sorted(rows.items()):
        text.append(f"| {' | '.join(_row(run, database, of_row))} |")
    text.append(f"| {' | '.join(_row('together', '', lines))} |")
    return "\n".join(text)


def _row(run: str, database: str, lines: Sequence[dict[str, Any]]) -> list[str]:
    def total(key: str) -> int:
        return sum(line[key] for line in lines)

    strikes, broken = total("strikes"), sum(len(line["broken"]) for line in lines)
    # Rounded up: no bound is better than it is.
    bound = f"< {min(100.0, math.ceil(3000 / strikes) / 10):.1f} %" if strikes and not broken else "–"
    seeds = _spans(sorted({line["seed"] for line in lines}))
    numbers = [f"{total(key):,}" for key in ("calls", "network", "workers_killed", "trials")]
    return [run, database, str(strikes), str(broken), bound, *numbers, seeds]


def _spans(numbers: Sequence[int]) -> str:
    """Those that follow each other as first–last."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{span[0]}–{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    printed = table([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
    sys.stdout.write(printed + "\n")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGINS)
    PAGE.write_text(f"{before}{BEGINS}\n\n{printed}\n\n{ENDS}{rest.partition(ENDS)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
