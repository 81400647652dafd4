"""The pages: shells that `static/*.js` fills from the REST API, so that a live update and a first look are the same code."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.templating import Jinja2Templates

from api.dashboard.static_files import own_version, plotly_version, static_files
from api.deps import ServiceDep, get_study, get_trial, public, requires
from tuner.errors import NotFound
from tuner.records import TRIAL_STATES
from tuner.sections import Text

_templates = Jinja2Templates(directory=pathlib.Path(__file__).parent / "templates")
_ONE_YEAR = 365 * 24 * 3600

TrialNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]

router = APIRouter(include_in_schema=False)


@router.get("/", dependencies=[requires("viewer")])
def studies_page(request: Request) -> HTMLResponse:
    return _page(request, "studies.html", here="studies")


@router.get("/studies/{study_id}", dependencies=[requires("viewer")])
def study_page(request: Request, study_id: Text, service: ServiceDep) -> HTMLResponse:
    try:
        study = get_study(study_id, service)
    except NotFound as error:
        return _page(request, "missing.html", 404, message=str(error))
    return _page(request, "study.html", study=study, trial_states=TRIAL_STATES)


@router.get("/studies/{study_id}/trials/{number}", dependencies=[requires("viewer")])
def trial_page(request: Request, study_id: Text, number: TrialNumber, service: ServiceDep) -> HTMLResponse:
    try:
        study = get_study(study_id, service)
        trial = get_trial(number, study, service)
    except NotFound as error:
        return _page(request, "missing.html", 404, message=str(error))
    return _page(request, "trial.html", study=study, trial=trial)


@router.get("/workers", dependencies=[requires("viewer")])
def workers_page(request: Request) -> HTMLResponse:
    return _page(request, "workers.html", here="workers")


@router.get("/static/{version}/{name}", dependencies=[public])
def static_file(version: str, name: str) -> Response:
    """A file of the fixed table; its address changes with its content, so a browser may keep it for ever."""
    found = static_files().get((version, name))
    if found is None:
        return Response(status_code=404)
    headers = {"Cache-Control": f"public, max-age={_ONE_YEAR}, immutable"}
    return FileResponse(found.path, media_type=found.media_type, headers=headers)


def login_page(request: Request, message: str | None = None, status: int = 200) -> HTMLResponse:
    """The form for people who come without the printed link; `message` says what was wrong with the last try.

    Its script posts `{"token": …}` to `/login` and then goes to the path in `?next=`.
    """
    return _page(request, "login.html", status, message=message)


def _page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    root = str(request.scope.get("root_path", ""))
    addresses = {
        "root": root,
        "static": f"{root}/static/{own_version()}",
        "plotly": f"{root}/static/{plotly_version()}/plotly.min.js",
        "address": str(request.base_url).rstrip("/"),
        "last_event": request.app.state.service.events.last_id(),
    }
    # The page itself holds no data and no secret, but which files it loads changes with an upgrade.
    headers = {"Cache-Control": "no-cache"}
    return _templates.TemplateResponse(request, template, addresses | values, status_code=status, headers=headers)
