"""The HTTP layer: requests in, JSON or pages out. Every rule lives below it, in `tuner`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.dashboard import pages
from api.dashboard.figures import load_plotly
from api.deps import declared_role
from api.errors import handle_errors
from api.feed import Feed
from api.meter import Meter
from api.routes import (
    audit,
    compare,
    definitions,
    events,
    export,
    figures,
    health,
    leases,
    sessions,
    studies,
    study_files,
    tokens,
    trials,
    usage,
    workers,
)
from api.security import LoginThrottle, Wall
from api.shortcut import Shortcut
from tuner.service import open_service
from tuner.settings import Settings

ROUTERS = [
    leases.router,  # first, because routes are tried in order and most calls are workers'
    studies.router,
    trials.router,
    figures.router,
    export.router,
    compare.router,
    usage.router,
    study_files.router,
    events.router,
    definitions.router,
    workers.router,
    tokens.router,
    audit.router,
    health.router,
    sessions.router,
    pages.router,
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The whole service as an ASGI application; `settings.port` must be the port that it is reached at.

    Raises LookupError if a route says neither which role it needs nor that it is public.
    """
    settings = settings or Settings()
    app = FastAPI(
        # Given whole: routers that are included are read again by each application, at its first request.
        routes=[route for router in ROUTERS for route in router.routes],
        title="Tuner",
        version=metadata.version("tuner"),
        description="Hyperparameter search for fine-tuning pre-trained models.",
        lifespan=_lifespan,
        openapi_url=None,  # served by a route of ours, for those who have a token
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.leadership = None  # it takes the database by itself
    app.state.on_deposed = lambda: None
    app.state.throttle = LoginThrottle()
    app.state.meter = Meter()
    app.add_middleware(Shortcut)
    app.add_middleware(Wall, settings=settings, answered=app.state.meter.answered)
    handle_errors(app)
    for route in app.routes:
        if not isinstance(route, APIRoute):
            raise LookupError(f"{route!r} can't declare the role it needs; make it a route of an APIRouter")
        declared_role(route)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    load_plotly()
    with open_service(app.state.settings, leadership=app.state.leadership, on_deposed=app.state.on_deposed) as service:
        app.state.service = service
        app.state.feed = Feed(service.events)
        try:
            yield
        finally:
            app.state.feed.close()
