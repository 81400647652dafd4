// The command that trains one trial again. A worker of ours tells the whole job at the trial's end, which `tuner train` repeats;
// before that, or with a worker of another kind, it is a study of a single trial with every parameter fixed.

const KEPT = ["task", "model", "data", "seed", "resources"];

export function reproduction(study, trial) {
  const job = trial.details?.job;
  if (job) return `tuner train '${JSON.stringify(job).replaceAll("'", "'\\''")}'`;
  const file = `trial-${trial.number}.json`;
  const body = {
    name: `${study.name} trial ${trial.number}`.slice(0, 200),
    ...Object.fromEntries(KEPT.filter((name) => study[name] !== undefined).map((name) => [name, withoutNull(study[name])])),
    objective: study.objective,
    parameters: fixed(study, trial),
    sampler: { name: "random" },
    pruner: { name: "none" },
    budget: { trials: 1 },
  };
  return `cat > ${file} <<'STUDY'\n${JSON.stringify(body, null, 1)}\nSTUDY\ntuner run ${file}`;
}

// A study searches something: one parameter has a list, of a single value. Its only trial is then this one.
function fixed(study, trial) {
  const space = study.parameters === "auto" ? {} : study.parameters;
  const searched = Object.keys(trial.params).find((name) => !("value" in (space[name] ?? {})));
  return Object.fromEntries(Object.entries(trial.params).map(([name, value]) => [name, name === searched ? { values: [value] } : { value }]));
}

const withoutNull = (value) => (value !== null && typeof value === "object" && !Array.isArray(value)
  ? Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== null && JSON.stringify(inner) !== "{}")) : value);
