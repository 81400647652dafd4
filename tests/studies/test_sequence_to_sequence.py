from __future__ import annotations

from pathlib import Path

from studies.definition import DataSpec
from studies.sequence_to_sequence import inspect, read
from tests.studies.training.conftest import write_jsonl


def test_pairs_of_one_source_stay_together(tmp_path: Path) -> None:
    rows = [{"source": f"s{number}", "target": f"t{number}{kind}"} for number in range(10) for kind in "ab"]
    data = DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", rows), validation=0.2)
    splits = read(data, 0)
    assert not {row.source for row in splits.train} & {row.source for row in splits.validation}
    assert (inspect(data, 0).train_rows, inspect(data, 0).validation_rows) == (16, 4)
