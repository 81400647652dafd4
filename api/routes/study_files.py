"""`/study-files`: study files as text, for people who edit them in a browser. Nothing is stored or checked here."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from api.bodies import Body
from api.deps import requires
from api.numbers import FreeJson
from api.schemas import Answer
from studies.errors import InvalidInput
from tuner import study_files
from tuner.sections import Text

router = APIRouter(prefix="/api/v1/study-files", tags=["studies"])


class StudyFileBody(Body):
    """A study file, as text or as the object that it stands for."""

    text: Annotated[Text, Field(max_length=50_000)] | None = None
    study: FreeJson | None = None


class StudyFileAnswer(Answer):
    """Both forms of a study file. The object is what `POST /studies` takes, and may be checked with its `dry_run`."""

    text: str
    study: dict[str, Any]


@router.post("", dependencies=[requires("viewer")])
def convert_study_file(body: StudyFileBody) -> StudyFileAnswer:
    """YAML to an object, or an object to YAML. A wrong text is refused with the line where reading ended."""
    if body.text is not None and body.study is None:
        return StudyFileAnswer(text=body.text, study=_plain(study_files.read(body.text)))
    if body.study is not None and body.text is None:
        return StudyFileAnswer(text=study_files.write(body.study), study=body.study)
    raise InvalidInput.at("text", "give either `text` or `study`")


def _plain(study: dict[str, Any]) -> dict[str, Any]:
    """YAML knows infinities, which JSON does not."""
    return StudyFileBody(study=study).study or {}
