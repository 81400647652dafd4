"""One trial under a lease, as its worker sees it: parameters in, reports out, kept alive by heartbeats meanwhile.

While the service is away training goes on: what the trial tells is kept, sent in order when the service is back, and the
verdict is obeyed then (`tuner/outbox.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.definition import RESUMED_LATER, Checkpoint, Metric, ParamValue, Verdict
from studies.errors import FailureKind
from tuner.errors import Refused, ServiceError, Unreachable
from tuner.outbox import Entry, Outbox

if TYPE_CHECKING:
    from tuner.client import Client

LOST = Verdict(stop=True, reason="lost")
_PATIENCE_SECONDS = 10.0  # a report waits no longer for its verdict, or at all while the service is away
_LAST_WORDS_SECONDS = 10.0
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
        self.seconds_left: float | None = lease.get("seconds_left")  # before the trial's timeout; None: it has none
        self.verdict = Verdict()  # the newest one, from whichever call
        self._expires_in = float(lease["expires_in"])
        self._client = client
        self._finished = False
        self._logged = 0  # lines, so that one sent again is known
        self._uploads = 0  # so that one which is held up on its way does not replace a later one
        self.gpus: Sequence[str] = ()  # ids of those that it is trained on, for people to see; set before it is entered
        self.give_up = threading.Event()  # set: what finds no service now is not tried again
        self.log_names = {"study": self.study_id, "trial": self.number, "attempt": self.attempt}  # in each line that concerns it
        self._outbox = Outbox(self.log_names, lambda: self.give_up)
        self._closing = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat-{self.number}", daemon=True)

    def __enter__(self) -> LeasedTrial:
        self._heart.start()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self._closing.set()
        self._heart.join()
        try:
            if self._finished or self.verdict.reason == "lost":
                return
            if isinstance(error, Exception) and not isinstance(error, ServiceError):
                self._end(_failure("code", f"{type(error).__name__}: {error}"), seconds=_LAST_WORDS_SECONDS)
            else:
                self._end(_RELEASED, seconds=_LAST_WORDS_SECONDS)
        finally:
            self._outbox.close()

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
        """A batch of metric points in the contract's form. Sent again after a lost connection, it counts once.

        Answers the newest verdict there is, which without the service is the last one that was heard.
        """
        self._outbox.ask(lambda: self._judged("metrics", {"metrics": list(metrics)}), seconds=_PATIENCE_SECONDS)
        return self.verdict

    def log(self, text: str) -> None:
        """Add lines to the trial's log, now or when the service is back."""
        after, self._logged = self._logged, self._logged + len(text.splitlines())
        self._outbox.put(Entry(lambda: self._post("logs", {"text": text, "after": after})))

    def heard(self) -> Verdict:
        """The verdict once all that was told has arrived. Raises Unreachable if `give_up` is set before."""
        self._outbox.deliver(lambda: None)
        return self.verdict

    def upload(self, name: str, file: Path) -> None:
        self._uploads += 1
        self._client.upload(f"/leases/{self.id}/artifacts/{name}", file, sequence=self._uploads)

    def save_checkpoint(self, checkpoint: Checkpoint, *, wait: bool = True) -> None:
        """Keep the point from which another worker could take the trial up; it replaces the one before.

        Without `wait` it is sent when all before it has been, the file is removed then, and of several only the newest is sent.
        """
        if wait:
            self._outbox.deliver(lambda: self._put_checkpoint(checkpoint))
            return
        forget = lambda: checkpoint.file.unlink(missing_ok=True)  # noqa: E731
        self._outbox.put(Entry(lambda: self._put_checkpoint(checkpoint), kind="checkpoint", forget=forget))

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
        self._end(_failure(kind, message))

    def release(self) -> None:
        """Give the trial back: it waits for another worker, at no cost to its retries."""
        self._end(_RELEASED)

    def _end(self, body: Mapping[str, Any], *, seconds: float | None = None) -> None:
        """Told once all else has arrived, however long the service is away."""
        if self.verdict.reason != "lost":
            self._outbox.deliver(lambda: self._post("finish", body), seconds=seconds)
        self._finished = True

    def _put_checkpoint(self, checkpoint: Checkpoint) -> None:
        path = f"/leases/{self.id}/checkpoint"
        if self.verdict.reason != "lost":
            self._client.upload(path, checkpoint.file, epoch=checkpoint.epoch, step=checkpoint.step)

    def _judged(self, what: str, body: object) -> Verdict:
        answer = self._post(what, body)
        if answer is not None:
            with well_formed("a verdict"):
                self.verdict = Verdict(stop=answer["verdict"] == "stop", reason=answer["reason"])
        return self.verdict

    def _post(self, what: str, body: object) -> Any:
        """The answer, or None where the trial is no longer ours: `verdict` says so then."""
        if self.verdict.reason == "lost":
            return None
        try:
            return self._client.post(f"/leases/{self.id}/{what}", body)
        except Refused as refusal:
            if refusal.status != 409:
                raise
            self.verdict = LOST
            return None

    def _beat(self) -> None:
        place = {"gpus": list(self.gpus)} if self.gpus else {}
        pause = 0.0 if place else self._expires_in / 4
        while not self._closing.wait(min(_MOST_SECONDS_BETWEEN_HEARTBEATS, pause)):
            pause = self._expires_in / 4
            try:
                self._judged("heartbeat", place)
                place = {}
            except ServiceError:
                continue  # training goes on through an outage; the lease decides whether it was too long


_RELEASED: Mapping[str, Any] = {"state": "released"}


def _failure(kind: FailureKind, message: str) -> Mapping[str, Any]:
    return {"state": "failed", "failure": {"kind": kind, "message": message}}


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Reading an answer of the service: one of another shape comes from something else, a proxy say. Raises Unreachable."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable(f"the answer is not {what} ({error!r}); is that the service's address?") from error
