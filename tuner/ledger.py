"""The rows, what the search remembers of them, and who is told when they change: shared by manager and lifecycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any, Generic, TypeVar

from studies.definition import ParamValue
from tuner.db.engine import Connection, Database
from tuner.db.metric_rows import scores_of_study
from tuner.db.space_rows import priors_of
from tuner.db.study_rows import get_study, set_search_attrs
from tuner.db.trial_rows import trials_of
from tuner.errors import Unavailable
from tuner.events import EventLog, Kind
from tuner.records import Study, Trial
from tuner.search import Search, Suggestion
from tuner.search_gp import make
from tuner.spec import pruning_metric
from tuner.turns import Turns

Result = TypeVar("Result")
REBUILT_AT_ONCE = 500  # trials: within a transaction, which holds up all others for so long as it takes
_TRIES = 3


class SearchMissing(Exception):
    """A long study's search is not in memory, and must be rebuilt before the transaction can be run."""

    def __init__(self, study_id: str) -> None:
        super().__init__(study_id)
        self.study_id = study_id


class DrawMissing(Exception):
    """The next draw of a study takes long, and must be made before the transaction can be run."""

    def __init__(self, study_id: str, request: str) -> None:
        super().__init__(study_id)
        self.study_id = study_id
        self.request = request  # for `search_gp.make`


@dataclass(eq=False)
class _Call(Generic[Result]):
    """A transaction that is tried until everything is there that it needs."""

    work: Callable[[Change], Result]
    told: Future[Result]
    rebuilt: set[str] = field(default_factory=set)  # studies whose search it has waited for: it waits once for each
    turn: str | None = None  # the study whose next draw is this call's
    draws: dict[str, Mapping[str, ParamValue]] = field(default_factory=dict)  # that it has waited for in its turn
    began: float = field(default_factory=lambda: monotonic())


class Change:
    """One transaction: its connection, the search of each study, and what to tell once it is committed."""

    def __init__(self, connection: Connection, searches: dict[str, Search], call: _Call[Any], turns: Turns) -> None:
        self.connection = connection
        self.news: list[tuple[Kind, dict[str, Any]]] = []
        self._searches = searches
        self._call = call
        self._turns = turns
        self.stirred: set[str] = set()  # studies whose rows have changed in a way that a search being rebuilt would miss
        self._touched: set[str] = set()  # studies whose search may hold what is not in rows yet

    def search(self, study: Study) -> Search:
        """The study's search, rebuilt from rows if it is not in memory. Raises SearchMissing, which `Ledger` sees to."""
        if study.id not in self._searches:
            if study.n_created > REBUILT_AT_ONCE and study.id not in self._call.rebuilt:
                raise SearchMissing(study.id)
            self._searches[study.id] = rebuilt(self.connection, study)
        self._touched.add(study.id)
        return self._searches[study.id]

    @property
    def waited(self) -> timedelta:
        """How long ago the call began, if it has waited for a search or a draw: for whoever was told the time then."""
        has_waited = self._call.turn is not None or self._call.rebuilt
        return timedelta(seconds=monotonic() - self._call.began if has_waited else 0.0)

    def before_it(self, study: Study) -> int:
        """How many calls that wait for a draw of the study get theirs before this one."""
        return 0 if self._call.turn == study.id else self._turns.length(study.id)

    def have_drawn(self, study: Study, given: Mapping[str, ParamValue]) -> Mapping[str, ParamValue]:
        """Before anything is changed: what the study's next trial is to be given if a draw takes long; `given` if it does not.

        A draw knows of what had ended when it began. Raises DrawMissing, which `Ledger` sees to.
        """
        search, made = self.search(study), self._made(study)
        drawn: Mapping[str, ParamValue] | None = None
        if made:
            newest = made[next(reversed(made))]
            drawn = search.if_drawn({name: given.get(name, value) for name, value in newest.items()})
        if drawn is None and (request := search.draw_to_make(study.n_created, given, made)) is not None:
            raise DrawMissing(study.id, request)
        return drawn or given

    def ask(self, study: Study, number: int, given: Mapping[str, ParamValue] | None = None) -> Suggestion:
        """Parameters for a new trial; what the sampler remembers of the study as a whole is stored at once."""
        suggestion = self.search(study).ask(number, given, self._made(study))
        if suggestion.study_attrs != study.search_attrs:
            set_search_attrs(self.connection, study.id, suggestion.study_attrs)
        return suggestion

    def _made(self, study: Study) -> dict[str, Mapping[str, ParamValue]]:
        return self._call.draws if self._call.turn == study.id else {}

    def forget_search(self, study_id: str) -> None:
        """Rows have changed in a way that the search in memory cannot follow."""
        self.stirred.add(study_id)
        self._searches.pop(study_id, None)

    def tell_search(self, trial: Trial) -> None:
        """A trial has ended; a search that is not in memory will read so from its row."""
        self._touched.add(trial.study_id)
        self.stirred.add(trial.study_id)
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
        self._drawer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search-draw")
        self._turns = Turns()
        # All that follow are used on the writer's thread only.
        self.searches: dict[str, Search] = {}  # by study
        self._open: list[Change] = []  # of the present transaction
        self._stirred: Counter[str] = Counter()  # study → how many changes have stirred it
        self._rebuilds: dict[str, Future[None]] = {}
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search-rebuild")
        database.on_rollback = self.searches.clear
        database.on_rerun = self._undo_open

    def read(self) -> AbstractContextManager[Connection]:
        return self.database.read()

    def change(self, work: Callable[[Change], Result]) -> Result:
        """Run `work` in one transaction; listeners hear of it after the commit."""
        self.database.check_may_wait()
        return self.begin(work).result()

    def begin(self, work: Callable[[Change], Result]) -> Future[Result]:
        """As `change`, for who can wait without holding a thread."""
        told: Future[Result] = Future()
        told.set_running_or_notify_cancel()  # who stops waiting stops nothing
        self._try(_Call(work, told))
        return told

    def _try(self, call: _Call[Result]) -> None:
        def tell(done: Future[tuple[Result, Change]]) -> None:
            self._open.clear()
            problem = done.exception()
            if isinstance(problem, SearchMissing):
                self._rebuild(problem.study_id).add_done_callback(partial(self._after_rebuild, call, problem.study_id))
            elif isinstance(problem, DrawMissing):
                self._draw(call, problem)
            elif problem is not None:
                self._fail(call, problem)
            else:
                call.told.set_result(self._told(done.result()))
                self._end_turn(call)

        try:
            self.database.begin(partial(self._in_transaction, call)).add_done_callback(tell)
        except Unavailable as error:
            self._fail(call, error)

    def _fail(self, call: _Call[Any], problem: BaseException) -> None:
        call.told.set_exception(problem)
        self._end_turn(call)

    def _after_rebuild(self, call: _Call[Any], study_id: str, rebuild: Future[None]) -> None:
        problem = rebuild.exception()
        if problem is None:
            call.rebuilt.add(study_id)
            self._try(call)
        else:
            self._fail(call, problem)

    def _draw(self, call: _Call[Any], missing: DrawMissing) -> None:
        """Try the call again once the draw is made, by another thread. Of calls that need one of the same study, each waits for
        the one before: it draws knowing of that one's trial."""
        if call.turn != missing.study_id:
            self._end_turn(call)
            call.turn, call.draws = missing.study_id, {}
            self._turns.take(missing.study_id, partial(self._try, call))
            return
        try:
            draw = self._drawer.submit(make, missing.request)
        except RuntimeError as error:  # the interpreter is going down
            self._fail(call, Unavailable(f"the service is shutting down: {error}"))
        else:
            draw.add_done_callback(partial(self._after_draw, call, missing.request))

    def _after_draw(self, call: _Call[Any], request: str, draw: Future[Mapping[str, ParamValue]]) -> None:
        problem = draw.exception()
        if problem is None:
            call.draws[request] = draw.result()
            self._try(call)
        else:
            self._fail(call, problem)

    def _end_turn(self, call: _Call[Any]) -> None:
        turn, call.turn = call.turn, None
        if turn is not None:
            self._turns.end(turn)

    def _in_transaction(self, call: _Call[Result], connection: Connection) -> tuple[Result, Change]:
        change = Change(connection, self.searches, call, self._turns)
        self._open.append(change)
        try:
            result = call.work(change)
        except BaseException as problem:
            # A draw is missed before anything is changed, and a search of many trials costs more than to let it be.
            if not isinstance(problem, DrawMissing):
                change.undo()
            raise
        self._stirred.update(change.stirred)
        return result, change

    def _told(self, committed: tuple[Result, Change]) -> Result:
        result, change = committed
        for kind, data in change.news:
            self.events.publish(kind, **data)
        return result

    def _undo_open(self) -> None:
        for change in self._open:
            change.undo()
        self._open.clear()

    def _rebuild(self, study_id: str) -> Future[None]:
        """Rebuild a long study's search on a thread of its own, so that other studies go on meanwhile."""
        running = self._rebuilds.get(study_id)
        if running is None or running.done():
            running = self._rebuilds[study_id] = self._builder.submit(self._build, study_id)
        return running

    def _build(self, study_id: str) -> None:
        for last in (False,) * (_TRIES - 1) + (True,):
            # Asked on the writer's thread: what was done before is committed by the time the answer is here.
            before = self.database.write(lambda _: self._stirred[study_id])
            with self.read() as connection:
                study = get_study(connection, study_id)
                search = None if study is None else rebuilt(connection, study)
            if search is None or self.database.write(partial(self._keep, study_id, search, before, last)):
                return

    def _keep(self, study_id: str, search: Search, before: int, last: bool, connection: Connection) -> bool:
        """Take over a search that was rebuilt, unless rows have changed since; `last`: then it is rebuilt here and now."""
        if self._stirred[study_id] != before:
            study = get_study(connection, study_id) if last else None
            if study is None:
                return last
            search = rebuilt(connection, study)
        self.searches[study_id] = search
        return True


def rebuilt(connection: Connection, study: Study) -> Search:
    """A study's search, from its rows."""
    reports = scores_of_study(connection, study.id, pruning_metric(study.spec))
    return Search(study, trials_of(connection, study.id), reports, priors_of(connection, study.id))
