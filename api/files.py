"""Files as they are sent: whole, streamed, to be saved and never to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import IO

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tuner.errors import NotFound
from tuner.files import StoredFile

_NO_PAGE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}
_CHUNK = 1 << 18


def file_answer(stored: StoredFile, name: str, size: int) -> StreamingResponse:
    """A download of `size` bytes under a name of ours. Raises NotFound if the file has gone meanwhile."""
    try:
        # At once: a file that has just been replaced by a better trial's is not found, instead of ending half-way.
        file = stored.open()
    except FileNotFoundError:
        raise NotFound(f"artifact {name!r} is not kept any more") from None
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return _Download(file, headers | _NO_PAGE)


class _Download(StreamingResponse):
    """Closes its file however it ends: who goes away before the first byte never starts to read."""

    def __init__(self, file: IO[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(iter(partial(file.read, _CHUNK), b""), media_type="application/octet-stream", headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()
