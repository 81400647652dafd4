"""HTTP/1.1 by a parser in C, a tenth of the price of one in Python, with the limit of a request's head that it lacks."""

from __future__ import annotations

import math

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 16 * 1024


class Protocol(HttpToolsProtocol):
    """uvicorn's, which would keep a head of any length in memory. One that is too long is answered 400."""

    _head = 0.0  # bytes of the head so far; minus infinity: it has ended

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._head > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def on_headers_complete(self) -> None:
        self._head = -math.inf
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES:
            raise ValueError("the head is too long")  # the parser stops there, and the base class answers 400
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()
