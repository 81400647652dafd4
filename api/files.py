"""Files as they are sent: whole, streamed, to be saved and never to be shown."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi.responses import StreamingResponse

from tuner.errors import NotFound
from tuner.files import StoredFile

_NO_PAGE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}
_CHUNK = 1 << 18


def file_answer(stored: StoredFile, name: str, size: int) -> StreamingResponse:
    """A download of `size` bytes under a name of ours. Raises NotFound if the file has gone meanwhile."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return StreamingResponse(_chunks(stored, name), media_type="application/octet-stream", headers=headers | _NO_PAGE)


def _chunks(stored: StoredFile, name: str) -> Iterator[bytes]:
    """Opened at once: a file that has just been replaced by a better trial's is not found, instead of ending half-way."""
    try:
        file = stored.open()
    except FileNotFoundError:
        raise NotFound(f"artifact {name!r} is not kept any more") from None

    def read() -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return read()
