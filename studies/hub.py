"""Repositories of the Hugging Face hub: which one a study names, at which commit, and its files on this machine.

`org/name` is a model, `hf:org/name[/config]` a data set; either may name a revision, `org/name@v2`. What a study names is pinned
to a commit when it is checked, so that all of its trials see the same. Nothing is downloaded unless `HF_HUB_OFFLINE=0` allows it;
else only what is in the hub's local cache is known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from studies.errors import InvalidInput

DATA_PREFIX = "hf:"
_NAME = r"\w[\w.-]{0,95}"
_REFERENCE = re.compile(rf"({_NAME}(?:/{_NAME}){{0,2}})(?:@({_NAME}(?:/{_NAME}){{0,3}}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PINNED = re.compile(r"@[0-9a-f]{40}$")
_SECONDS = 20.0  # for an answer of the hub
# Of a model: no copies of its weights in other formats or for other programs, which lie in folders or have other names.
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "model*.safetensors")
_NO_MODEL_FILES = ("*/*", "*.fp16*.safetensors")


@dataclass(frozen=True)
class Repository:
    """One of the hub's repositories, at a revision."""

    kind: Literal["model", "dataset"]
    id: str
    revision: str = "main"

    @property
    def what(self) -> str:
        """For people."""
        return "data set" if self.kind == "dataset" else "model"

    @property
    def cached(self) -> Path:
        """Where the hub's cache has it, whose layout is documented and the same for all programs."""
        return cache() / f"{self.kind}s--{self.id.replace('/', '--')}"

    def snapshot(self) -> Path | None:
        """The folder of its files that are on this machine."""
        commit = self.revision
        if (reference := self.cached / "refs" / self.revision).is_file():
            commit = reference.read_text("ascii").strip()
        folder = self.cached / "snapshots" / commit
        return folder if folder.is_dir() else None


def repository(reference: str, kind: Literal["model", "dataset"]) -> Repository | None:
    """What `reference` names, its configuration left aside; None if it is no name of a repository."""
    found = _REFERENCE.fullmatch(reference)
    return Repository(kind, found[1], found[2] or "main") if found and found[1].count("/") < 2 else None


def dataset(source: str, where: str) -> tuple[Repository, str | None]:
    """What `hf:…` names: a repository, and the configuration of it that is meant; None: its default.

    `a/b` is the data set b of a, or where there is none b of the data set a. Raises InvalidInput at `where`.
    """
    found = _REFERENCE.fullmatch(source.removeprefix(DATA_PREFIX))
    if found is None:
        raise InvalidInput.at(
            where, f"{source!r} names no data set; write hf:org/name, hf:org/name/config or hf:org/name@revision"
        )
    parts, revision = found[1].split("/"), found[2] or "main"
    likeliest = Repository("dataset", "/".join(parts[:2]), revision)
    if len(parts) == 2 and not _exists(likeliest, where):
        other = Repository("dataset", parts[0], revision)
        if _exists(other, where):
            return other, parts[1]
    return likeliest, parts[2] if len(parts) == 3 else None


def pinned(reference: str, where: str) -> str:
    """`reference` with the commit that it names now; as it is where that can't be known without asking the hub.

    `where` is its field: `model`, or one of `data`. Raises InvalidInput where the hub says that it can't be had.
    """
    if _PINNED.search(reference):
        return reference
    repo = repository(reference, "model") if where == "model" else dataset(reference, where)[0]
    if repo is None:
        return reference
    commit = _commit_at_hub(repo, where) if downloads_allowed() else _commit_here(repo)
    return reference if commit is None else f"{without_revision(reference)}@{commit}"


def unpinned(reference: str) -> str:
    """`reference` as people write it, without the commit that it was pinned to."""
    return _PINNED.sub("", reference)


def without_revision(reference: str) -> str:
    """The name alone, which is what is allowed or not."""
    return reference.partition("@")[0]


def model_folder(reference: str) -> Path:
    """The folder of a hub model's files, downloaded where that is allowed. Raises InvalidInput at `model`."""
    repo = repository(reference, "model")
    assert repo is not None  # `resolve` has looked
    return download(repo, _MODEL_FILES, "model", but=_NO_MODEL_FILES)


def download(repo: Repository, patterns: Sequence[str], where: str, but: Sequence[str] = ()) -> Path:
    """The folder with those of the repository's files that match `patterns`; others may lie in it too.

    Raises InvalidInput at `where` where they can't be had.
    """
    if not downloads_allowed():
        found = repo.snapshot()
        if found is None:
            raise InvalidInput.at(where, _not_here(repo))
        return found
    with _translated(repo, where):
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        return Path(
            huggingface_hub.snapshot_download(
                repo.id,
                repo_type=repo.kind,
                revision=repo.revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(but),
                cache_dir=cache(),
                endpoint=_endpoint(),
            )
        )


def files_of(repo: Repository, where: str) -> list[str]:
    """The paths of all files of the repository; without downloads those that are here. Raises InvalidInput at `where`."""
    if downloads_allowed():
        with _translated(repo, where):
            return sorted(str(entry.rfilename) for entry in _info(repo).siblings or ())
    folder = download(repo, (), where)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def downloads_allowed() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "1").upper() in ("0", "OFF", "NO", "FALSE")


def cache() -> Path:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _commit_here(repo: Repository) -> str | None:
    found = repo.snapshot()
    return found.name if found is not None and _COMMIT.fullmatch(found.name) else None


def _commit_at_hub(repo: Repository, where: str) -> str:
    with _translated(repo, where):
        commit = str(_info(repo).sha)
    # A gated repository tells its commit to everybody, and its files only to those who may have them.
    download(replace(repo, revision=commit), ["config.json", "tokenizer_config.json", "README.md"], where)
    return commit


def _exists(repo: Repository, where: str) -> bool:
    """Whether there is such a repository, as far as can be told here. Raises InvalidInput where the hub gives no answer."""
    if not downloads_allowed():
        return repo.cached.is_dir()
    with _translated(repo, where):
        from huggingface_hub import HfApi

        return HfApi(endpoint=_endpoint()).repo_exists(repo.id, repo_type=repo.kind)


def _info(repo: Repository) -> Any:
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint=_endpoint())
    return api.repo_info(repo.id, repo_type=repo.kind, revision=repo.revision, timeout=_SECONDS)


def _not_here(repo: Repository) -> str:
    at = "" if repo.revision == "main" else f" at {repo.revision}"
    return (
        f"{repo.what} {repo.id!r}{at} is not on this machine, and downloads are off;"
        " start the service and its workers with HF_HUB_OFFLINE=0 to allow them"
    )


@contextmanager
def _translated(repo: Repository, where: str) -> Iterator[None]:
    """What the hub's package raises, as an error of the field that names the repository."""
    what = f"{repo.what} {repo.id!r}"
    page = f"{_endpoint()}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.id}"
    # Imported where they are needed, here and below: most studies ask no hub.
    from httpx2 import HTTPError
    from huggingface_hub import errors

    try:
        yield
        return
    except errors.GatedRepoError:
        message = f"is gated: accept its terms at {page}, and start the service and its workers with HF_TOKEN set"
    except errors.RepositoryNotFoundError:
        message = f"is not at {_endpoint()}; if it is private, start the service and its workers with HF_TOKEN set"
    except errors.RevisionNotFoundError:
        message = f"has no revision {repo.revision!r}; {page} lists its branches and tags"
    except (OSError, HTTPError) as error:
        message = f"could not be had from {_endpoint()}: {str(error).strip().splitlines()[0]}"
    raise InvalidInput.at(where, f"the {what} {message}")
