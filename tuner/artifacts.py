"""Files that trials leave behind, kept by the service. Clients name artifacts, never paths."""

from __future__ import annotations

import hashlib
import random
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from studies.definition import RESULT_FILES
from studies.errors import InvalidInput
from tuner.db import artifact_rows, checkpoint_rows, file_rows, metric_rows, overview_rows, study_rows, trial_rows
from tuner.db.engine import Connection
from tuner.errors import Deposed, NotFound, StaleLease, Unavailable
from tuner.files import LocalFiles, StoredFile, files_at
from tuner.ledger import Change, Ledger
from tuner.overview import best_of
from tuner.records import Artifact, StoredCheckpoint, Trial
from tuner.spec import direction_of

log = structlog.get_logger()
CHECKPOINTS_KEPT = 5  # of finished trials, a study
_MAY_BE_LOOSE = timedelta(days=1)  # no upload takes that long
_FORGOTTEN_AT_ONCE = 500  # files: others have to write meanwhile
_FAILURES_OF_A_STORE_THAT_IS_AWAY = 3  # each may take as long as a timeout
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole but belongs to nothing yet."""

    path: str
    size: int
    sha256: str


class ArtifactStore:
    """A place for the bytes (`tuner/files.py`), rows for what they are.

    An artifact's row is written only once its file is whole there. Until then, and once it is no longer needed, the file is a
    loose one (`tuner/db/file_rows.py`): what dies meanwhile leaves that row, by which `sweep` finds it a day later.
    """

    def __init__(self, ledger: Ledger, place: str | Path, *, max_bytes: int) -> None:
        """`place` is a folder or a URL. Raises InvalidInput for a URL that nothing here can reach."""
        self.ledger = ledger
        self.files = files_at(place)
        self.max_bytes = max_bytes

    @property
    def folder(self) -> Path:
        """Where the files lie, if that is on this machine."""
        assert isinstance(self.files, LocalFiles)
        return self.files.folder

    def receive(self, chunks: Iterable[bytes], *, now: datetime) -> Upload:
        """Keep a stream under a name of our own. Raises InvalidInput if it is larger than allowed."""
        path = f"{secrets.token_hex(1)}/{secrets.token_hex(16)}"
        digest, size = hashlib.sha256(), 0

        def measured() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                if size > self.max_bytes:
                    raise InvalidInput.at("body", f"an artifact may have at most {self.max_bytes} bytes")
                digest.update(chunk)
                yield chunk

        self.ledger.change(lambda change: file_rows.add_loose(change.connection, [path], now=now))
        try:
            self.files.write(path, measured())
        except BaseException:
            self.remove([path])
            raise
        return Upload(path=path, size=size, sha256=digest.hexdigest())

    def attach(
        self, lease_id: str, trial: Trial, name: str, upload: Upload, *, now: datetime, sequence: int | None = None
    ) -> Artifact:
        """Make an upload an artifact of the trial that the lease holds; the same name again replaces it.

        `sequence` counts the uploads of the lease: one that was held up on its way does not replace a later one.
        """
        order = {"attempt": trial.attempt, "sequence": sequence}
        artifact = Artifact(trial_id=trial.id, name=check_name(name), created_at=now, **(asdict(upload) | order))
        self._attach(lease_id, trial, upload, lambda connection: artifact_rows.put_artifact(connection, artifact), now)
        return artifact

    def attach_checkpoint(
        self, lease_id: str, trial: Trial, upload: Upload, *, epoch: float, step: int, now: datetime
    ) -> StoredCheckpoint:
        """Make an upload the point from which the trial is taken up again, in place of the one before."""
        checkpoint = StoredCheckpoint(trial_id=trial.id, epoch=epoch, step=step, created_at=now, **asdict(upload))
        self._attach(lease_id, trial, upload, lambda connection: checkpoint_rows.put_checkpoint(connection, checkpoint), now)
        return checkpoint

    def _attach(self, lease_id: str, trial: Trial, upload: Upload, put: Callable[[Connection], list[str]], now: datetime) -> None:
        """Write the row, if the lease still holds the trial, and remove the file that it replaced."""

        def work(change: Change) -> list[str]:
            if not metric_rows.lease_is_current(change.connection, trial.id, lease_id):
                raise StaleLease(lease_id)
            if not file_rows.take_loose(change.connection, upload.path):
                raise _Swept("this upload took too long; send it again")
            unneeded = put(change.connection)
            file_rows.add_loose(change.connection, unneeded, now=now)
            return unneeded

        try:
            unneeded = self.ledger.change(work)
        except (StaleLease, Deposed, _Swept):
            self.remove([upload.path])  # nothing was committed
            raise
        self.remove(unneeded)

    def checkpoint(self, trial: Trial) -> tuple[StoredCheckpoint, StoredFile]:
        """The newest checkpoint of a trial and the file that holds it. Raises NotFound."""
        with self.ledger.read() as connection:
            found = checkpoint_rows.checkpoint_of(connection, trial.id)
        if found is None:
            raise NotFound(f"trial {trial.number} has no checkpoint")
        return found, StoredFile(self.files, found.path)

    def list(self, trial: Trial) -> list[Artifact]:
        with self.ledger.read() as connection:
            return artifact_rows.artifacts_of(connection, trial.id)

    def find(self, trial: Trial, name: str) -> tuple[Artifact, StoredFile]:
        """An artifact and the file that holds it. Raises NotFound."""
        for artifact in self.list(trial):
            if artifact.name == name:
                return artifact, StoredFile(self.files, artifact.path)
        raise NotFound(f"trial {trial.number} has no artifact {name!r}")

    def wants_model(self, trial: Trial, value: float) -> bool:
        """Whether the model of a running trial that ends with this value would be kept, going by what has completed so far."""
        with self.ledger.read() as connection:
            study = study_rows.get_study(connection, trial.study_id)
            # Of several objectives one alone does not say which trial is better.
            if study is None or study.spec.further_objectives:
                return True
            maximize = direction_of(study.spec) == "maximize"
            return overview_rows.count_better(connection, study.id, value, maximize=maximize) < study.spec.keep_models

    def study_to_tidy(self, change: Change, lease_id: str) -> str | None:
        """For `keep_best`, after a trial ended under this lease: its study, if any trial of that has files."""
        trial = trial_rows.trial_of_lease(change.connection, lease_id)
        # None: it was put back, and keeps them for the next attempt.
        if trial is None or not file_rows.has_files(change.connection, trial.study_id):
            return None
        return trial.study_id

    def keep_best(self, study_id: str, *, now: datetime) -> int:
        """Remove what finished trials no longer need; how many files went.

        The best ones (`keep_models`) keep their artifacts, the others only those by which trials are compared; the best few
        keep their checkpoints: whoever gives a trial more epochs picks from those. Any other can be extended too, but from its
        start.
        """
        with self.ledger.read() as connection:
            if not file_rows.has_files(connection, study_id):
                return 0

        def work(change: Change) -> dict[str, int]:
            study = study_rows.get_study(change.connection, study_id)
            best = None if study is None else best_of(change.connection, study)
            models = 1 if study is None else study.spec.keep_models
            maximize = study is not None and direction_of(study.spec) == "maximize"
            few = trial_rows.best_trials(change.connection, study_id, maximize=maximize, limit=CHECKPOINTS_KEPT)
            gone = checkpoint_rows.remove_checkpoints(change.connection, study_id, keep=few)
            whole = trial_rows.best_trials(change.connection, study_id, maximize=maximize, limit=models, states=("completed",))
            # Of several objectives the best trial is not simply the one with the best leading value.
            keep = [*([] if best is None else [best.id]), *(id_ for id_ in whole if best is None or id_ != best.id)][:models]
            gone |= artifact_rows.remove_artifacts(change.connection, study_id, keep=keep, spare=RESULT_FILES)
            if gone:
                study_rows.add_freed(change.connection, study_id, sum(gone.values()))
                file_rows.add_loose(change.connection, gone, now=now)
            return gone

        removed = self.ledger.change(work)
        self.remove([*removed])
        return len(removed)

    def remove(self, loose: Sequence[str], *, until: Callable[[], bool] = lambda: False) -> int:
        """Remove files that belong to nothing; how many went. Those that can't be removed just now are left to `sweep`."""
        gone: list[str] = []
        failures = 0  # in a row
        for path in loose:
            if failures == _FAILURES_OF_A_STORE_THAT_IS_AWAY or until():
                break
            try:
                self.files.remove(path)
            except Unavailable as error:
                failures += 1
                log.warning("a file that is not needed will be removed later", path=path, reason=str(error))
            else:
                failures = 0
                gone.append(path)
        try:
            for start in range(0, len(gone), _FORGOTTEN_AT_ONCE):
                self._forget(gone[start : start + _FORGOTTEN_AT_ONCE])
        except Unavailable as error:
            log.warning("removed files will be looked for again", reason=str(error))
        return len(gone)

    def sweep(self, *, now: datetime, until: Callable[[], bool] = lambda: False) -> int:
        """Remove files that have belonged to nothing for a day, since whoever put them there has died; how many there were."""
        before = now - _MAY_BE_LOOSE
        with self.ledger.read() as connection:
            if not file_rows.any_loose(connection, before):
                return 0
        loose = self.ledger.change(lambda change: file_rows.condemn_loose(change.connection, before))
        random.shuffle(loose)  # or a few that can never be removed could be the first each time
        return self.remove(loose, until=until)

    def _forget(self, gone: Sequence[str]) -> None:
        self.ledger.change(lambda change: file_rows.forget_loose(change.connection, gone))


class _Swept(Unavailable):
    """An upload was taken for one whose service has died."""


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput.at(
            "name", "must be 1 to 100 letters, digits, dots, dashes or underscores, and start with a letter or digit"
        )
    return name
