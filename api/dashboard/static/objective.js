// The objective that a study is first judged by; a Pareto search has several.

export const objectives = (study) => [study.objective].flat().filter(Boolean);

export const firstObjective = (study) => objectives(study)[0];
