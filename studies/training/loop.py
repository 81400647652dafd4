"""Training one trial: build, then time and again train, evaluate, report, obey the verdict, keep the best weights."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from studies.definition import RESUMED_LATER, Checkpoint, Direction, Job, Keep, Metric, Outcome, Report, reaches
from studies.errors import InvalidInput, TrialFailure
from studies.training.activations import Upper, above_prefix, all_of
from studies.training.attention import attention_file
from studies.training.card import card
from studies.training.checkpoints import Progress, load_checkpoint, put_back, save_checkpoint, trained_state, worth_keeping
from studies.training.data import training_batches
from studies.training.freezing import freeze, levels, unfreeze
from studies.training.hardware import Precision, memory
from studies.training.latency import latency
from studies.training.lora import adapt
from studies.training.models import save_files, save_model
from studies.training.optim import build_optimizer, build_schedule
from studies.training.provenance import origin
from studies.training.ranks import Ranks, in_ranks
from studies.training.settings import Settings, settings_of
from studies.training.store import Store
from studies.training.task import Evaluation, Prepare, Task, unchanged
from studies.training.vocabulary import train_read_rows

log = logging.getLogger(__name__)


def train(prepare: Prepare, job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune what `prepare` builds as `job` says; `job.params` names every hyperparameter.

    `report` and `keep` are called at every evaluation, in this process, whatever number of them trains.

    Raises TrialFailure: `nan` for a loss that is no number, `oom` for memory, `data` for data or a model that is not what
    the study was checked with.
    """
    return in_ranks(partial(_train_here, prepare), job, report, keep)


def _train_here(prepare: Prepare, job: Job, report: Report, keep: Keep, ranks: Ranks) -> Outcome | None:
    try:
        return _train(prepare, job, report, keep, ranks)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(job, error) from error
    except RuntimeError as error:
        # On a CPU torch has no class of its own for this.
        if "can't allocate memory" in str(error):
            raise _out_of_memory(job, error) from error
        raise


def _train(prepare: Prepare, job: Job, report: Report, keep: Keep, ranks: Ranks) -> Outcome | None:
    started = time.perf_counter()
    seconds = {"train": 0.0, "evaluate": 0.0, "checkpoint": 0.0}
    settings = settings_of(job.params)
    torch.set_num_threads(max(1, job.threads // ranks.count))
    # Adam's averages of words not seen for 700 steps shrink to denormal numbers, which made its steps 3 times slower.
    torch.set_flush_denormal(True)

    torch.manual_seed(job.seed)
    task = _prepared(prepare, job, settings)
    model = task.model
    freeze(model, settings.frozen_layers, settings.train)
    adapter = adapt(model, settings) if settings.train == "lora" else None
    sizes = _sizes(model)
    put_back_rows = train_read_rows(model, task.training, task.validation)
    model.to(job.device)  # type: ignore[arg-type]  # torch's decorator hides the signature

    an_epoch = math.ceil(len(task.training) / settings.batch_size)  # batches, each of which is a step
    optimizer = build_optimizer(model, settings)
    schedule = build_schedule(optimizer, settings, [leg * an_epoch for leg in job.legs or (settings.epochs,)])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    state, parts = trained_state(model), levels(model) if settings.gradual_unfreezing else []
    lengths = task.training.lengths
    precision = Precision(settings.precision, job.device)
    with ranks.one_after_the_first(), precision.autocast():
        upper = _upper_part(task, settings, job, precision.name)
    seconds["prepare"] = time.perf_counter() - started

    best: Evaluation | None = None
    progress = Progress()
    if job.resume is not None:
        try:
            progress = load_checkpoint(job.resume, state, optimizer, schedule)
        except TrialFailure as failure:
            # It would save time, no more: nothing was loaded yet, and the trial can still be trained from its start.
            log.warning("starting from epoch 0: %s", failure.message)
    begun, kept = progress.epoch, time.perf_counter()
    batches: list[list[int]] = []
    for end, epoch in evaluation_points(an_epoch, settings.epochs, job.eval_every):
        if end <= progress.step or early_enough(progress, settings.patience) or good_enough(progress, job):
            continue
        began = time.perf_counter()
        ranks.draw_apart(f"{job.seed} {progress.step}")
        upper.model.train()
        total_loss, examples = 0.0, 0
        for step in range(progress.step, end):
            if step % an_epoch == 0 or not batches:
                # Drawn from the epoch's own seed, so that a trial that is taken up within an epoch draws the same.
                batches = training_batches(lengths, settings.batch_size, random.Random(f"{job.seed} {step // an_epoch}"))
                unfreeze(parts, settings.gradual_unfreezing * (step // an_epoch))
            rows = batches[step % an_epoch]
            batch_loss = 0.0
            for part, share in shares(rows, ranks.share(rows), task.counts, settings.accumulation):
                with precision.autocast():
                    outputs = upper.model(**task.augment(upper.training.batch(part, job.device)))
                    loss = task.loss(outputs, task.training.batch_targets(part, job.device)) * share
                loss.backward()  # type: ignore[no-untyped-call]
                batch_loss += loss.item()
            batch_loss = ranks.add_up(trained, batch_loss)
            # Before the step: a loss that is no number would ruin the weights.
            _finite("training loss", batch_loss, step + 1, float(schedule.get_last_lr()[0]))
            if settings.max_grad_norm > 0:
                clip_grad_norm_(trained, settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total_loss, examples = total_loss + batch_loss * len(rows), examples + len(rows)
        progress.step, progress.epoch = end, epoch
        seconds["train"] += time.perf_counter() - began

        began = time.perf_counter()
        with precision.autocast():
            evaluation = _evaluated(task, upper, job.device) if ranks.first else Evaluation(scores={})
        scores = ranks.told(dict(evaluation.scores))
        seconds["evaluate"] += time.perf_counter() - began
        _finite("validation loss", scores["loss"], progress.step, settings.learning_rate)

        progress.since_best += 1
        if not progress.best or _better(scores[job.metric], progress.best[job.metric], job.direction):
            progress.best, progress.best_epoch, progress.since_best, best = scores, epoch, 0, evaluation
            if ranks.first:
                progress.best_weights = {name: tensor.to("cpu", copy=True) for name, tensor in state.items()}

        metrics = [Metric(name=name, value=value, step=end, epoch=epoch) for name, value in scores.items()]
        metrics.append(Metric(name="loss", value=total_loss / examples, step=end, epoch=epoch, split="train"))
        verdict = ranks.told(report(metrics))
        # After the report: a checkpoint never holds an epoch that nobody has heard of.
        began = time.perf_counter()
        wanted = verdict.reason in RESUMED_LATER if verdict.stop else epoch.is_integer() or worth_keeping(state, began - kept)
        if ranks.first and epoch < settings.epochs and wanted:
            file = job.folder / f"checkpoint-{epoch:g}.safetensors"
            save_checkpoint(file, state, optimizer, schedule, progress)
            keep.checkpoint(Checkpoint(file=file, epoch=epoch, step=progress.step))
            kept = time.perf_counter()
            seconds["checkpoint"] += kept - began
        if verdict.stop and ranks.first:
            return _outcome(job, task, sizes, progress, seconds, upper.details(epoch - begun), precision, verdict.reason)
        if verdict.stop:
            return None

    if not ranks.first:
        return None
    put_back(state, progress.best_weights)
    del optimizer, schedule  # their memory is free for the rest of the model
    put_back_rows()
    outcome = _outcome(job, task, sizes, progress, seconds, upper.details(progress.epoch - begun), precision)
    outcome = replace(outcome, details={**outcome.details, "latency_seconds": latency(model, task.validation, job.device)})
    # The best epoch may have been trained by an earlier attempt.
    best = best or _evaluated(task, upper, job.device)
    if task.samples is not None:
        best = replace(best, predictions=task.samples(model, job.device))
    record = _record(job, outcome, task) | {"adapter": adapter is not None}
    files = best.files() | attention_file(model, task.processor, task.validation, job.device)
    if keep.wants_model(outcome.values):
        plain = type(model).__module__.startswith("transformers.")
        files |= {"README.md": card(record, best.scores, best.classes, plain=plain)}
        save_model(job.folder / "model", model, task.processor, record, files, adapter)
    else:
        save_files(job.folder / "model", files)
    return outcome


def evaluation_points(an_epoch: int, epochs: int, every: float) -> list[tuple[int, float]]:
    """When to evaluate in `epochs` epochs of `an_epoch` steps each: (steps done, epochs done), the last at the end.

    Trials of different batch sizes are compared at the same shares of an epoch, so the share is what was asked for and the
    steps are the nearest whole number.
    """
    shares = [round(index * every, 6) for index in range(1, math.ceil(epochs / every))]
    # Where there are fewer steps than evaluations, the last share that falls on a step is its own.
    points = {max(1, round(share * an_epoch)): share for share in shares if round(share * an_epoch) < epochs * an_epoch}
    return sorted((points | {epochs * an_epoch: float(epochs)}).items())


def early_enough(progress: Progress, patience: int) -> bool:
    """Whether so many evaluations in a row brought nothing better that training may end."""
    return 0 < patience <= progress.since_best


def good_enough(progress: Progress, job: Job) -> bool:
    """Whether the target of the study is reached, so that nothing better is asked for."""
    return job.target is not None and bool(progress.best) and reaches(progress.best[job.metric], job.target, job.direction)


def shares(batch: list[int], rows: list[int], counts: Sequence[int] | None, parts: int) -> list[tuple[list[int], float]]:
    """Those `rows` of a batch that are trained here in at most `parts` parts of nearly the same size, each with its share.

    The mean loss of a batch is the sum of its parts' mean losses, each times its share. `counts` says by how much each
    example counts in a mean; None: all alike. A part that counts nothing, and has no mean, is left out.
    """
    size = max(1, math.ceil(len(rows) / parts))
    cut = [rows[start : start + size] for start in range(0, len(rows), size)]
    weights = [len(part) if counts is None else sum(counts[row] for row in part) for part in (*cut, batch)]
    return [(part, weight / weights[-1]) for part, weight in zip(cut, weights, strict=False) if weight > 0]


def _prepared(prepare: Prepare, job: Job, settings: Settings) -> Task:
    try:
        task = prepare(job, settings)
    except InvalidInput as error:
        raise TrialFailure("data", str(error)) from error
    found = task.splits.fingerprint()
    if job.fingerprint is not None and found != job.fingerprint:
        raise TrialFailure(
            "data",
            "the data changed since the study was checked; put back what there was, or start another study "
            f"(fingerprint {found}, not {job.fingerprint})",
        )
    return task


def _sizes(model: torch.nn.Module) -> dict[str, int]:
    """How many parameters it has, and how many of them are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"parameters": sum(size for size, _ in sizes), "trained_parameters": sum(size for size, trained in sizes if trained)}


def _finite(name: str, value: float, step: int, learning_rate: float) -> float:
    if math.isfinite(value):
        return value
    raise TrialFailure("nan", f"{name} became {value} at step {step}, learning rate {learning_rate:.3g}; a smaller one may help")


def _better(value: float, best: float, direction: Direction) -> bool:
    return value > best if direction == "maximize" else value < best


def _out_of_memory(job: Job, error: BaseException) -> TrialFailure:
    sizes = ", ".join(f"{name} {job.params[name]}" for name in ("batch_size", "max_length") if name in job.params)
    return TrialFailure("oom", f"out of memory on {job.device} with {sizes}: {error}")


def _upper_part(task: Task, settings: Settings, job: Job, precision: str) -> Upper:
    """What is run in each step: where a prefix of the model is frozen, only what is above, on stored states."""
    model, training, validation = task.model, task.training, task.validation
    store = None if job.shared is None else Store(folder=job.shared, limit=job.shared_bytes)
    whole = partial(all_of, model, training, validation, store, job.device, precision)
    if settings.frozen_layers == 0 and settings.train != "head":
        return whole(why="nothing is frozen")
    if store is None:
        return whole(why="this worker keeps no states")
    if task.augment is not unchanged:
        return whole(why="examples are changed at random")
    return above_prefix(model, training, validation, store, job.device, precision)


def _evaluated(task: Task, upper: Upper, device: str) -> Evaluation:
    if task.evaluates_whole:
        return task.evaluate(task.model, task.validation, device)
    return task.evaluate(upper.model, upper.validation, device)


def _outcome(
    job: Job,
    task: Task,
    sizes: Mapping[str, int],
    progress: Progress,
    seconds: Mapping[str, float],
    prefix: Mapping[str, Any],
    precision: Precision,
    stopped: str | None = None,
) -> Outcome:
    details = {
        **sizes,
        "steps": progress.step,
        "precision": precision.name,
        "memory": memory(precision.device),
        "prefix": prefix,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
    } | origin(job, task.splits)
    return Outcome(values=progress.best, stopped=stopped, epoch=float(progress.best_epoch), details=details)


def _record(job: Job, outcome: Outcome, task: Task) -> dict[str, Any]:
    """Everything that was asked for and what came of it: the model folder explains itself."""
    return asdict(job) | {
        "folder": None,
        "resume": None,
        "shared": None,
        "fingerprint": task.splits.fingerprint(),
        "values": outcome.values,
        "epoch": outcome.epoch,
        "details": outcome.details,
    }
