// The objective that a study is first judged by; a Pareto search has further ones.

// As an answer tells them (the leading one, and the others) or as a study file may (a list).
export const objectives = ({ objective, further_objectives: further = [] }) => [objective, further].flat().filter(Boolean);

export const firstObjective = (study) => objectives(study)[0];
