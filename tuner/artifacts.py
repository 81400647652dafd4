"""Files that trials leave behind, in a folder of the service. Clients name artifacts, never paths."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from studies.errors import InvalidInput
from tuner.db import metric_rows, study_rows
from tuner.errors import NotFound, StaleLease
from tuner.ledger import Change, Ledger
from tuner.overview import best_of
from tuner.records import Artifact, Study, Trial

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole but belongs to nothing yet."""

    path: str
    size: int
    sha256: str


class ArtifactStore:
    """A folder for the bytes, rows for what they are. A row is written only once its file is whole and on disk."""

    def __init__(self, ledger: Ledger, folder: Path, *, max_bytes: int) -> None:
        self.ledger = ledger
        self.folder = folder
        self.max_bytes = max_bytes

    def receive(self, chunks: Iterable[bytes]) -> Upload:
        """Write a stream to disk under a name of our own. Raises InvalidInput if it is larger than allowed."""
        path = f"{secrets.token_hex(1)}/{secrets.token_hex(16)}"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".part")
        digest, size = hashlib.sha256(), 0
        try:
            with unfinished.open("wb") as handle:
                for chunk in chunks:
                    size += len(chunk)
                    if size > self.max_bytes:
                        raise InvalidInput.at("body", f"an artifact may have at most {self.max_bytes} bytes")
                    digest.update(chunk)
                    handle.write(chunk)
                handle.flush()
                os.fsync(handle.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return Upload(path=path, size=size, sha256=digest.hexdigest())

    def attach(self, lease_id: str, trial: Trial, name: str, upload: Upload, *, now: datetime) -> Artifact:
        """Make an upload an artifact of the trial that the lease holds; the same name again replaces it."""
        artifact = Artifact(
            trial_id=trial.id, name=check_name(name), size=upload.size, sha256=upload.sha256, path=upload.path, created_at=now
        )

        def work(change: Change) -> str | None:
            from_lease = metric_rows.lease_is_current(change.connection, trial.id, lease_id)
            if not from_lease:
                raise StaleLease(lease_id)
            return metric_rows.put_artifact(change.connection, artifact)

        try:
            replaced = self.ledger.change(work)
        except StaleLease:
            self.remove([upload.path])
            raise
        self.remove([replaced] if replaced else [])
        return artifact

    def list(self, trial: Trial) -> list[Artifact]:
        with self.ledger.read() as connection:
            return metric_rows.artifacts_of(connection, trial.id)

    def find(self, trial: Trial, name: str) -> tuple[Artifact, Path]:
        """An artifact and the file that holds it. Raises NotFound."""
        for artifact in self.list(trial):
            if artifact.name == name:
                return artifact, self.folder / artifact.path
        raise NotFound(f"trial {trial.number} has no artifact {name!r}")

    def keep_best(self, study_id: str) -> int:
        """Remove the artifacts of finished trials but the best one's; how many files went."""

        def work(change: Change) -> list[str]:
            study = study_rows.get_study(change.connection, study_id)
            best = None if study is None else best_of(change.connection, study)
            keep = [] if best is None else [best.id]
            return metric_rows.remove_artifacts(change.connection, study_id, keep=keep)

        removed = self.ledger.change(work)
        self.remove(removed)
        return len(removed)

    def paths_of(self, study: Study) -> Sequence[str]:
        """The files of a study, to be removed once its rows are gone."""
        with self.ledger.read() as connection:
            return metric_rows.artifact_paths(connection, study.id)

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            (self.folder / path).unlink(missing_ok=True)


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput.at(
            "name", "must be 1 to 100 letters, digits, dots, dashes or underscores, and start with a letter or digit"
        )
    return name
