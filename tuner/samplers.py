"""The samplers that a study may name, with their options, and which of them can search which space."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field

from studies.configurations import MOST_CONFIGURATIONS, count
from studies.errors import FieldError
from studies.space import Choice, Fixed, FloatRange, Space
from tuner.sections import Section, Whole


class _Sampler(Section):
    """What all have in common."""

    repeats: Whole = Field(default=1, ge=1, le=10_000)  # how often one configuration may be run, each time with another seed


class TpeSampler(_Sampler):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate, aware of running trials."""

    name: Literal["tpe"] = "tpe"
    startup_trials: Whole = Field(default=10, ge=0, le=10_000)  # drawn at random before the model is used


class GpSampler(_Sampler):
    """Gaussian process with expected improvement: sample-efficient, for spaces without conditions and up to ~1,000 trials."""

    name: Literal["gp"]
    startup_trials: Whole = Field(default=10, ge=1, le=10_000)


class RandomSampler(_Sampler):
    """Independent draws."""

    name: Literal["random"]


class GridSampler(_Sampler):
    """Every configuration of a finite space, once; the study ends with the last one."""

    name: Literal["grid"]
    order: Literal["seeded", "given"] = "seeded"  # shuffled by the study's seed, or the last parameter changing fastest


class QmcSampler(_Sampler):
    """Scrambled Sobol points (Owen 1998): random search without its gaps and clusters."""

    name: Literal["qmc"]


class CmaEsSampler(_Sampler):
    """CMA-ES (Hansen 2016), for spaces of numbers without conditions and some hundred trials or more."""

    name: Literal["cmaes"]
    population: Whole | None = Field(default=None, ge=4, le=10_000)  # None: 4 + 3 ln(parameters)


class Nsga2Sampler(_Sampler):
    """NSGA-II (Deb et al. 2002): a genetic algorithm for several objectives."""

    name: Literal["nsga2"]
    population: Whole = Field(default=20, ge=4, le=10_000)


class Nsga3Sampler(_Sampler):
    """NSGA-III (Deb and Jain 2014): as NSGA-II, spread over reference points; for three objectives."""

    name: Literal["nsga3"]
    population: Whole = Field(default=20, ge=4, le=10_000)


Sampler = Annotated[
    TpeSampler | GpSampler | RandomSampler | GridSampler | QmcSampler | CmaEsSampler | Nsga2Sampler | Nsga3Sampler,
    Field(discriminator="name"),
]
SAMPLERS: tuple[type[_Sampler], ...] = (
    TpeSampler,
    GpSampler,
    RandomSampler,
    GridSampler,
    QmcSampler,
    CmaEsSampler,
    Nsga2Sampler,
    Nsga3Sampler,
)


def sampler_errors(sampler: Sampler, space: Space) -> list[FieldError]:
    """Why the sampler can't search the space, and what would work; empty if it can."""
    conditional = [name for name, parameter in space.items() if parameter.when]
    choices = [name for name, parameter in space.items() if isinstance(parameter, Choice) and len(parameter.values) > 1]
    problem = None
    if isinstance(sampler, GpSampler | CmaEsSampler) and conditional:
        problem = f"{sampler.name} can't search conditional parameters ({', '.join(conditional)}); tpe, random and qmc can"
    elif isinstance(sampler, CmaEsSampler) and choices:
        problem = f"cmaes searches numbers only, but {', '.join(choices)} takes one of several values; use tpe or gp"
    elif isinstance(sampler, GpSampler) and find_spec("torch") is None:
        problem = "gp needs torch, which is not installed beside this service; install tuner[train] there, or use tpe"
    elif isinstance(sampler, GridSampler):
        problem = _grid_problem(space)
    return [] if problem is None else [FieldError("sampler.name", problem)]


def _grid_problem(space: Space) -> str | None:
    endless = [
        name for name, parameter in space.items() if isinstance(parameter, FloatRange) and count({name: parameter}) is None
    ]
    if endless:
        return f"grid needs finitely many values, but {', '.join(endless)} has no end: give it `step` or `values`, or use qmc"
    size = count(space)
    if size is not None and size > MOST_CONFIGURATIONS:
        return f"the grid has {size} configurations, more than {MOST_CONFIGURATIONS}; use larger steps, or qmc"
    return None


def searched(space: Space) -> list[str]:
    """The parameters that are not fixed."""
    return [name for name, parameter in space.items() if not isinstance(parameter, Fixed)]
