"""`/events`: what changes, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.deps import FeedDep, StudyDep, requires
from api.feed import Feed

router = APIRouter(tags=["events"], dependencies=[requires("viewer")])
LastEventId = Annotated[str | None, Header(max_length=64)]
# A browser can't set the header on its first request: the page tells here which event it was made after.
After = Annotated[str | None, Query(max_length=64)]


@router.get("/api/v1/events", response_class=EventSourceResponse)
async def all_events(feed: FeedDep, last_event_id: LastEventId = None, after: After = None) -> AsyncIterator[ServerSentEvent]:
    """Changes of every study, trial, metric and worker. `Last-Event-ID`, or `after` where there is none, resumes; `reset`
    means that something was missed."""
    async for event in _events(feed, last_event_id or after, None):
        yield event


@router.get("/api/v1/studies/{study_id}/events", response_class=EventSourceResponse)
async def study_events(
    study: StudyDep, feed: FeedDep, last_event_id: LastEventId = None, after: After = None
) -> AsyncIterator[ServerSentEvent]:
    """Changes of one study, its trials and their metrics; `Last-Event-ID` and `after` as for all events."""
    async for event in _events(feed, last_event_id or after, study.id):
        yield event


async def _events(feed: Feed, after: str | None, study_id: str | None) -> AsyncIterator[ServerSentEvent]:
    seen = after or feed.events.last_id()
    # An id without data is no event for a browser, but from now on it can resume even if nothing ever happens.
    yield ServerSentEvent(id=seen, comment="connected")
    while news := await feed.after(seen, seconds=None):
        seen = news[-1].id
        for event in news:
            if study_id is None or event.kind == "reset" or event.data.get("study_id") == study_id:
                yield ServerSentEvent(id=event.id, event=event.kind, data=event.data)
