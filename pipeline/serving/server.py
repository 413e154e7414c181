"""The champion behind HTTP: python -m pipeline.serve [--name NAME] [--port 8000].

    POST /invocations  {"inputs": an image (height, width, channels) or several (n, …)}
      → {"predictions": [{"class": …, "probabilities": {class: …}}, …], "model": …}
    GET /              what the model takes and gives

Pixels are raw: whole numbers from 0 to the largest of the data set. What is wrong with a request is
one sentence: {"error": …}, status 400.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import PipelineError
from pipeline.paths import default_tracking_uri
from pipeline.tracking.registry import ALIAS, Champion, Registry
from pipeline.tracking.store import Store

MAX_BYTES = 1 << 26  # of a request: some 5,000 colour images of 32 × 32 pixels
NOT_NUMBERS = "inputs must be numbers, and nothing but numbers, in nested lists"


class BadRequestError(Exception):
    """What is wrong with a request, in one sentence."""


@dataclass(frozen=True)
class Served:
    """A champion that has been loaded."""

    champion: Champion
    model: Any  # MLflow's pyfunc model
    classes: Sequence[str]
    image_shape: tuple[int, int, int]  # (height, width, channels)
    largest: int  # pixel value


def load_champion(store: Store, name: str | None) -> Served:
    """Load the champion of a registered model; without a name, the one that was made last.

    Raises:
        PipelineError: there is none, or its files cannot be read.
    """
    registry = Registry(store)
    champion = registry.champion(name)
    if champion is None:
        of = f" of {name}" if name else ""
        raise PipelineError(
            f"there is no {ALIAS}{of} in {store.uri}: make one with python -m pipeline.promote"
        )
    model = registry.load(champion)
    arrays = model.unwrap_python_model().arrays
    _, height, width, channels = model.metadata.signature.inputs.inputs[0].shape
    return Served(
        champion=champion,
        model=model,
        classes=arrays["classes"].tolist(),
        image_shape=(height, width, channels),
        largest=int(arrays["largest"]),
    )


def as_images(inputs: Any, served: Served) -> NDArray[np.uint8]:
    """Check what a client has sent, and make it images (n, height, width, channels).

    Raises:
        BadRequestError: it is no such array of pixels.
    """
    try:
        pixels = np.array(inputs)
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadRequestError(
            f"inputs must be numbers in equally long lists ({str(error).partition('.')[0]})"
        ) from None
    if pixels.dtype.kind not in "iuf":
        raise BadRequestError(NOT_NUMBERS)
    shape = served.image_shape
    if pixels.shape == shape:
        pixels = pixels[None]
    if pixels.shape[1:] != shape or not len(pixels):
        wanted = ", ".join(map(str, shape))
        raise BadRequestError(
            f"inputs have the shape {pixels.shape}: send one image ({wanted}) or several "
            f"(n, {wanted}), as (height, width, channels)"
        )
    if not np.isfinite(pixels).all():
        raise BadRequestError("inputs hold NaN or infinity: send whole numbers")
    if (pixels < 0).any() or (pixels > served.largest).any() or (pixels % 1 != 0).any():
        raise BadRequestError(
            f"inputs must be raw pixels, whole numbers from 0 to {served.largest}: these go from "
            f"{pixels.min()} to {pixels.max()}"
        )
    return pixels.astype(np.uint8)


def application(served: Served, hosts: Sequence[str]) -> Starlette:
    """The web application; it answers under the names in `hosts` alone.

    A page of another site could otherwise reach it through a name that points to this machine.
    """
    about = {
        "model": served.champion._asdict(),
        "classes": list(served.classes),
        "inputs": {"shape": ["n", *served.image_shape], "from": 0, "to": served.largest},
        "predict": 'POST /invocations {"inputs": …}',
    }

    async def describe(_: Request) -> Response:
        return JSONResponse(about)

    async def predict(request: Request) -> Response:
        try:
            answer = await run_in_threadpool(_predict, await _body_of(request), served)
        except BadRequestError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse(answer)

    return Starlette(
        routes=[Route("/", describe), Route("/invocations", predict, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )


async def _body_of(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise BadRequestError(
                f"the request is larger than {MAX_BYTES >> 20} MiB: send less at once"
            )
    return bytes(body)


def _inputs_of(body: bytes) -> Any:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        said = str(error).partition(";")[0]
        raise BadRequestError(f"the request is no JSON ({said})") from None
    if not isinstance(request, dict) or set(request) != {"inputs"}:
        raise BadRequestError('the request must be {"inputs": …}, with no other key')
    if b"true" in body or b"false" in body:  # NumPy would take them for 1 and 0 among numbers
        raise BadRequestError(NOT_NUMBERS)
    return request["inputs"]


def _predict(body: bytes, served: Served) -> dict[str, Any]:
    found = served.model.predict(as_images(_inputs_of(body), served))
    predictions = [
        {"class": str(name), "probabilities": dict(zip(served.classes, row, strict=True))}
        for name, row in zip(found["class"], found["probabilities"].tolist(), strict=True)
    ]
    return {"predictions": predictions, "model": served.champion._asdict()}


def listen(host: str, port: int) -> socket.socket:
    """Take a port, or end with one sentence."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        sys.exit(f"port {port} of {host} cannot be had ({error}): choose another, as in PORT=8001")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.serve", description="Serve the champion over HTTP."
    )
    parser.add_argument("--name", help="of the registered model (default: the one made last)")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="(default: 8000)")
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    options = parser.parse_args(arguments)
    try:
        served = load_champion(Store.open_existing(options.tracking_uri), options.name)
    except PipelineError as error:
        sys.exit(str(error))
    listener = listen(options.host, options.port)
    champion = served.champion
    print(f"{champion.name} version {champion.version}: http://{options.host}:{options.port}")
    local = ["127.0.0.1", "localhost"]
    hosts = local if options.host in local else ["*"]
    app = application(served, hosts)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
