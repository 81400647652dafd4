"""What a study is going to do, told before it starts: its rows, and how much is trained at each frozen depth."""

from __future__ import annotations

from rich.table import Table

from studies.space import active, contains
from tuner.commands.output import number, table
from tuner.spec import CheckedStudy


def plan(checked: CheckedStudy) -> list[str | Table]:
    """Lines and tables for people."""
    spec, data, objective = checked.spec, checked.data, checked.spec.objective
    parts: list[str | Table] = [f"{spec.name or 'study'}: {spec.task}, {spec.model}"]
    if data is not None:
        held = f", {data.test_rows} for test" if data.test_rows else ""
        classes = f", {len(data.classes)} classes" if data.classes else ""
        parts.append(f"{data.train_rows} rows to train on, {data.validation_rows} for validation{held}{classes}")
        if objective is not None and (baseline := data.baseline.get(objective.metric)) is not None:
            parts.append(f"without any model: {objective.metric} {number(baseline)}")
    trials = "without a limit" if spec.budget.trials is None else f"{spec.budget.trials} trials"
    parts.append(f"searches {', '.join(checked.space)}: {trials}, {spec.parallelism} at once, at most")
    if checked.model.trained_parameters:
        parts.append(depths(checked))
    return parts


def depths(checked: CheckedStudy) -> Table:
    """Trained parameters at each frozen depth that the space allows; the task's head, which is small, comes on top."""
    trained = checked.model.trained_parameters
    parameter = checked.space.get("frozen_layers")
    allowed = {depth for depth in range(len(trained)) if parameter is not None and contains(parameter, depth)}
    if parameter is None or not active(parameter, {}):
        allowed.add(int(checked.definition.completed({})["frozen_layers"] or 0))
    rows = [[str(depth), f"{trained[depth]:,}", f"{trained[depth] / trained[0]:.1%}"] for depth in sorted(allowed)]
    return table(["frozen_layers", "trained parameters", "of all"], rows)
