"""The pages: shells that `static/*.js` fills from the REST API, so that a live update and a first look are the same code."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.templating import Jinja2Templates

from api.dashboard.languages import LANGUAGE_COOKIE, LANGUAGES, language_of, sentences_in, texts_in
from api.dashboard.static_files import own_version, plotly_version, static_files
from api.deps import ServiceDep, base_path, get_study, get_trial, identify, public, requires
from tuner.errors import NotFound
from tuner.records import TRIAL_STATES, Token
from tuner.sections import Text

_templates = Jinja2Templates(directory=pathlib.Path(__file__).parent / "templates")
_ONE_YEAR = 365 * 24 * 3600

TrialNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]
Visitor = Annotated[Token, Depends(identify)]

router = APIRouter(include_in_schema=False)


@router.get("/", dependencies=[requires("viewer")])
def studies_page(request: Request, visitor: Visitor) -> HTMLResponse:
    return _page(request, "studies.html", visitor, here="studies")


@router.get("/new", dependencies=[requires("viewer")])
def new_study_page(request: Request, visitor: Visitor) -> HTMLResponse:
    """With `?from=` a copy of that study to begin with."""
    return _page(request, "new_study.html", visitor, here="new")


@router.get("/studies/{study_id}", dependencies=[requires("viewer")])
def study_page(request: Request, visitor: Visitor, study_id: Text, service: ServiceDep) -> HTMLResponse:
    try:
        study = get_study(study_id, service)
    except NotFound as error:
        return _page(request, "missing.html", visitor, 404, message=str(error))
    return _page(request, "study.html", visitor, study=study, trial_states=TRIAL_STATES)


@router.get("/studies/{study_id}/compare", dependencies=[requires("viewer")])
def compare_page(request: Request, visitor: Visitor, study_id: Text, service: ServiceDep) -> HTMLResponse:
    """Trials side by side: `?trials=3,7,9`."""
    try:
        study = get_study(study_id, service)
    except NotFound as error:
        return _page(request, "missing.html", visitor, 404, message=str(error))
    return _page(request, "compare.html", visitor, study=study)


@router.get("/studies/{study_id}/trials/{number}", dependencies=[requires("viewer")])
def trial_page(request: Request, visitor: Visitor, study_id: Text, number: TrialNumber, service: ServiceDep) -> HTMLResponse:
    try:
        study = get_study(study_id, service)
        trial = get_trial(number, study, service)
    except NotFound as error:
        return _page(request, "missing.html", visitor, 404, message=str(error))
    return _page(request, "trial.html", visitor, study=study, trial=trial)


@router.get("/compare", dependencies=[requires("viewer")])
def compare_studies_page(request: Request, visitor: Visitor) -> HTMLResponse:
    """Studies side by side: `?studies=a,b`."""
    return _page(request, "compare_studies.html", visitor, here="compare")


@router.get("/workers", dependencies=[requires("viewer")])
def workers_page(request: Request, visitor: Visitor) -> HTMLResponse:
    return _page(request, "workers.html", visitor, here="workers")


# Whoever may not read these is told so by the page; the data itself is refused by the API.
@router.get("/audit", dependencies=[requires("viewer")])
def audit_page(request: Request, visitor: Visitor) -> HTMLResponse:
    return _page(request, "audit.html", visitor, here="audit")


@router.get("/tokens", dependencies=[requires("viewer")])
def tokens_page(request: Request, visitor: Visitor) -> HTMLResponse:
    return _page(request, "tokens.html", visitor, here="tokens")


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
    return _page(request, "login.html", None, status, message=message)


def _page(request: Request, template: str, visitor: Token | None, status: int = 200, **values: Any) -> HTMLResponse:
    root = base_path(request)
    language = language_of(request)
    texts = texts_in(language)
    given = {
        "root": root,
        "static": f"{root}/static/{own_version()}",
        "plotly": f"{root}/static/{plotly_version()}/plotly.min.js",
        "address": request.app.state.settings.public_url or str(request.base_url).rstrip("/"),
        "last_event": request.app.state.service.events.last_id(),
        "role": visitor.role if visitor else "",
        "language": language,
        "languages": LANGUAGES,
        "texts": texts,
        "sentences": sentences_in(language),
        "t": lambda text: texts.get(text, text),
    }
    # The page itself holds no data and no secret, but which files it loads changes with an upgrade.
    headers = {"Cache-Control": "no-cache"}
    page = _templates.TemplateResponse(request, template, given | values, status_code=status, headers=headers)
    if "lang" in request.query_params:
        page.set_cookie(LANGUAGE_COOKIE, language, max_age=_ONE_YEAR, path=f"{root}/", samesite="strict")
    return page
