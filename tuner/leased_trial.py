"""One trial under a lease, as its worker sees it: parameters in, reports out, kept alive by heartbeats meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.definition import RESUMED_LATER, Checkpoint, Metric, ParamValue, Verdict
from studies.errors import FailureKind
from tuner.errors import Refused, ServiceError, Unreachable

if TYPE_CHECKING:
    from tuner.client import Client

LOST = Verdict(stop=True, reason="lost")
_MOST_SECONDS_BETWEEN_HEARTBEATS = 4.0  # a user's stop reaches the trial within that time


class LeasedTrial:
    """A trial that this process holds. Used as a context manager it sends heartbeats, and gives the trial back at the end."""

    def __init__(self, client: Client, lease: Mapping[str, Any]) -> None:
        self.id: str = lease["id"]
        self.study_id: str = lease["study_id"]
        self.number: int = lease["trial"]
        self.attempt: int = lease["attempt"]
        self.params: Mapping[str, ParamValue] = lease["params"]
        self.spec: Mapping[str, Any] = lease["spec"]
        self.seed: int = lease["seed"]
        self.legs: Sequence[int] = lease.get("legs") or ()  # of an extended trial: where each run of its schedule ends, in epochs
        self.fingerprint: str | None = lease.get("fingerprint")
        self.resume: Mapping[str, Any] | None = lease["resume"]  # {epoch, step} of the checkpoint to go on from
        self.verdict = Verdict()  # the newest one, from whichever call
        self._expires_in = float(lease["expires_in"])
        self._client = client
        self._finished = False
        self._closing = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat-{self.number}", daemon=True)

    def __enter__(self) -> LeasedTrial:
        self._heart.start()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self._closing.set()
        self._heart.join()
        if self._finished or self.verdict.reason == "lost":
            return
        if isinstance(error, Exception) and not isinstance(error, ServiceError):
            self.fail("code", f"{type(error).__name__}: {error}")
        else:
            self.release()

    def report(self, *, step: int, epoch: float | None = None, split: str = "validation", **metrics: float) -> Verdict:
        """Report named numbers; the answer says whether to go on."""
        return self.send(
            [{"name": name, "step": step, "epoch": epoch, "value": value, "split": split} for name, value in metrics.items()]
        )

    def report_metrics(self, metrics: Sequence[Metric]) -> Verdict:
        return self.send(
            [{"name": m.name, "step": m.step, "epoch": m.epoch, "value": m.value, "split": m.split} for m in metrics]
        )

    def send(self, metrics: Sequence[Mapping[str, Any]]) -> Verdict:
        """A batch of metric points in the contract's form. Sent again after a lost connection, it counts once."""
        return self._judged("metrics", {"metrics": list(metrics)})

    def log(self, text: str) -> None:
        self._client.post(f"/leases/{self.id}/logs", {"text": text})

    def upload(self, name: str, file: Path) -> None:
        self._client.upload(f"/leases/{self.id}/artifacts/{name}", file)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep the point from which another worker could take the trial up; it replaces the one before."""
        path = f"/leases/{self.id}/checkpoint"
        self._client.upload(path, checkpoint.file, epoch=checkpoint.epoch, step=checkpoint.step)

    def load_checkpoint(self, file: Path) -> None:
        """Fetch the checkpoint that `resume` speaks of."""
        self._client.download(f"/leases/{self.id}/checkpoint", file)

    def finish(self, values: Mapping[str, float], details: Mapping[str, Any] | None = None) -> None:
        """The trial ran to its end, or stopped when told to, with these values.

        Told to stop for now (`paused`, `preempted`) it is given back instead: what it reached so far is no result.
        """
        if self.verdict.reason in RESUMED_LATER:
            self.release()
        else:
            self.complete(values, details)

    def complete(self, values: Mapping[str, float], details: Mapping[str, Any] | None = None) -> None:
        """These values are the trial's result, whatever it was told meanwhile."""
        self._end({"state": "completed", "values": dict(values), "details": dict(details or {})})

    def fail(self, kind: FailureKind, message: str) -> None:
        self._end({"state": "failed", "failure": {"kind": kind, "message": message}})

    def release(self) -> None:
        """Give the trial back: it waits for another worker, at no cost to its retries."""
        self._end({"state": "released"})

    def _end(self, body: Mapping[str, Any]) -> None:
        if self.verdict.reason != "lost":
            self._post("finish", body)
        self._finished = True

    def _judged(self, what: str, body: object) -> Verdict:
        answer = self._post(what, body)
        if answer is not None:
            with well_formed("a verdict"):
                self.verdict = Verdict(stop=answer["verdict"] == "stop", reason=answer["reason"])
        return self.verdict

    def _post(self, what: str, body: object) -> Any:
        """The answer, or None where the trial is no longer ours: `verdict` says so then."""
        try:
            return self._client.post(f"/leases/{self.id}/{what}", body)
        except Refused as refusal:
            if refusal.status != 409:
                raise
            self.verdict = LOST
            return None

    def _beat(self) -> None:
        while not self._closing.wait(min(_MOST_SECONDS_BETWEEN_HEARTBEATS, self._expires_in / 4)):
            try:
                self._judged("heartbeat", {})
            except ServiceError:
                continue  # training goes on through an outage; the lease decides whether it was too long


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Reading an answer of the service: one of another shape comes from something else, a proxy say. Raises Unreachable."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable(f"the answer is not {what} ({error!r}); is that the service's address?") from error
