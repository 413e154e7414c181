"""Limits of the server: on the size, the time and the number of requests."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.serving.inputs import BadRequestError

READ_SECONDS = 10  # for a client to send the head, and again to send the body
CONNECTIONS = 200  # at once; uvicorn answers further requests with 503
BUFFERED_BYTES = 32 << 20  # of the bodies of all requests that are being received


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose next request does not arrive in time.

    uvicorn itself waits for the first request without a limit.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Pass received bytes on, and restart the timer between two requests."""
        super().data_received(data)
        if not self._is_between_requests():
            self._stop_waiting()
        elif self._deadline is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(READ_SECONDS, self._expire)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._is_between_requests():
            self.transport.close()


class BodyReader:
    """Reads the bodies of requests within limits on size, time and total memory."""

    def __init__(self, max_bytes: int) -> None:
        """Limit each body to `max_bytes`."""
        self._max_bytes = max_bytes
        self._buffered = 0  # bytes of all bodies that are being received or processed

    async def read(self, request: Request) -> bytes:
        """Read the body of a JSON request; call `release` with it afterwards.

        Raises:
            BadRequestError: the body is too large, too slow or not declared as JSON, or the server
                receives too many bodies at once.
            ClientDisconnect: the client has closed the connection.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise BadRequestError("the request must have Content-Type: application/json", 415)
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(READ_SECONDS):
                async for part in request.stream():
                    if len(body) + len(part) > self._max_bytes:
                        raise self._too_large()
                    if self._buffered + len(part) > BUFFERED_BYTES:
                        raise BadRequestError("the server is busy: try again later", 503)
                    self._buffered += len(part)
                    body += part
            return bytes(body)
        except TimeoutError:
            self.release(body)
            raise BadRequestError(
                f"the body did not arrive within {READ_SECONDS} seconds: send it faster", 408
            ) from None
        except BaseException:
            self.release(body)
            raise

    def release(self, body: bytes | bytearray) -> None:
        """Give the memory of a processed body back."""
        self._buffered -= len(body)

    def _too_large(self) -> BadRequestError:
        return BadRequestError(
            f"the body is larger than {self._max_bytes >> 10:,} KiB: send fewer inputs at once", 413
        )
