"""The rows, what the search remembers of them, and who is told when they change: shared by manager and lifecycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from studies.definition import ParamValue
from tuner.db.engine import Connection, Database
from tuner.db.metric_rows import metrics_of_study
from tuner.db.space_rows import priors_of
from tuner.db.study_rows import set_search_attrs
from tuner.db.trial_rows import trials_of
from tuner.events import EventLog, Kind
from tuner.records import Study, Trial
from tuner.search import Search, Suggestion
from tuner.spec import pruning_metric

Result = TypeVar("Result")


class Change:
    """One transaction: its connection, the search of each study, and what to tell once it is committed."""

    def __init__(self, connection: Connection, searches: dict[str, Search]) -> None:
        self.connection = connection
        self.news: list[tuple[Kind, dict[str, Any]]] = []
        self._searches = searches
        self._touched: set[str] = set()  # studies whose search may hold what is not in rows yet

    def search(self, study: Study) -> Search:
        """The study's search, rebuilt from rows if it is not in memory."""
        self._touched.add(study.id)
        if study.id not in self._searches:
            reports = metrics_of_study(self.connection, study.id, name=pruning_metric(study.spec))
            trials, priors = trials_of(self.connection, study.id), priors_of(self.connection, study.id)
            self._searches[study.id] = Search(study, trials, reports, priors)
        return self._searches[study.id]

    def ask(self, study: Study, number: int, given: Mapping[str, ParamValue] | None = None) -> Suggestion:
        """Parameters for a new trial; what the sampler remembers of the study as a whole is stored at once."""
        suggestion = self.search(study).ask(number, given)
        if suggestion.study_attrs != study.search_attrs:
            set_search_attrs(self.connection, study.id, suggestion.study_attrs)
        return suggestion

    def forget_search(self, study_id: str) -> None:
        """Rows have changed in a way that the search in memory cannot follow."""
        self._searches.pop(study_id, None)

    def tell_search(self, trial: Trial) -> None:
        """A trial has ended; a search that is not in memory will read so from its row."""
        self._touched.add(trial.study_id)
        if trial.study_id in self._searches:
            self._searches[trial.study_id].tell(trial)

    def undo(self) -> None:
        """The transaction is undone: drop what memory holds of it."""
        for study_id in self._touched:
            self.forget_search(study_id)

    def tell(self, kind: Kind, **data: Any) -> None:
        self.news.append((kind, data))

    def tell_trial(self, trial: Trial) -> None:
        self.tell("trial", study_id=trial.study_id, number=trial.number, state=trial.state)


class Ledger:
    """The database, with one search a running study in memory beside it."""

    def __init__(self, database: Database, events: EventLog) -> None:
        self.database = database
        self.events = events
        self.searches: dict[str, Search] = {}  # by study; used on the writer's thread only
        database.on_rollback = self.searches.clear

    def read(self) -> AbstractContextManager[Connection]:
        return self.database.read()

    def change(self, work: Callable[[Change], Result]) -> Result:
        """Run `work` in one transaction; listeners hear of it after the commit."""
        return self._told(self.database.write(self._in_transaction(work)))

    def begin(self, work: Callable[[Change], Result]) -> Future[Result]:
        """As `change`, for who can wait without holding a thread."""
        told: Future[Result] = Future()
        told.set_running_or_notify_cancel()  # who stops waiting stops nothing

        def tell(done: Future[tuple[Result, Change]]) -> None:
            problem = done.exception()
            if problem is None:
                told.set_result(self._told(done.result()))
            else:
                told.set_exception(problem)

        self.database.begin(self._in_transaction(work)).add_done_callback(tell)
        return told

    def _in_transaction(self, work: Callable[[Change], Result]) -> Callable[[Connection], tuple[Result, Change]]:
        def in_transaction(connection: Connection) -> tuple[Result, Change]:
            change = Change(connection, self.searches)
            try:
                return work(change), change
            except BaseException:
                change.undo()
                raise

        return in_transaction

    def _told(self, committed: tuple[Result, Change]) -> Result:
        result, change = committed
        for kind, data in change.news:
            self.events.publish(kind, **data)
        return result
