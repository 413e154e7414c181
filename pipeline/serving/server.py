"""The champion behind HTTP: python -m pipeline.serve [--name NAME] [--port 8000].

    POST /invocations  {"inputs": an image (height, width, channels), or several (n, …)}
                       {"inputs": a row of numbers (D), or several (n, D)}
                       {"dataframe_records": [{column: value, …}, …]}, for a model of a table
      → {"predictions": [{"class": …, "probabilities": {class: …}}, …], "model": …}
    GET /              the input and output of the model

Pixels are raw: whole numbers from 0 to the largest of the dataset. A wrong request gets one
sentence: {"error": …}, status 400.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Mapping, Sequence
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
from pipeline.serving.inputs import BadRequestError, InputSpec
from pipeline.tracking.registry import ALIAS, Champion, Registry
from pipeline.tracking.store import Store

MAX_BYTES = 1 << 26  # of a request: some 5,000 colour images of 32 × 32 pixels


@dataclass(frozen=True)
class Served:
    """A champion that has been loaded."""

    champion: Champion
    model: Any  # MLflow's pyfunc model
    classes: Sequence[str]
    inputs: InputSpec


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
    return Served(
        champion=champion,
        model=model,
        classes=arrays["classes"].tolist(),
        inputs=_input_spec(model, arrays),
    )


def _input_spec(model: Any, arrays: Mapping[str, NDArray[Any]]) -> InputSpec:
    """Read the input of a model from its signature and its preprocessing."""
    inputs = model.metadata.signature.inputs
    if "columns" in arrays:
        return InputSpec(columns=tuple(inputs.input_names()))
    largest = 255 if inputs.inputs[0].type == np.uint8 else None
    largest = int(arrays["largest"]) if "largest" in arrays else largest
    return InputSpec(shape=tuple(inputs.inputs[0].shape[1:]), largest=largest)


def application(served: Served, hosts: Sequence[str]) -> Starlette:
    """The web application; it answers under the names in `hosts` alone.

    A page of another site could otherwise reach it through a name that points to this machine.
    """
    about = {
        "model": served.champion._asdict(),
        "classes": list(served.classes),
        "inputs": served.inputs.describe(),
        "predict": f"POST /invocations {served.inputs.example}",
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


def _predict(body: bytes, served: Served) -> dict[str, Any]:
    try:
        found = served.model.predict(served.inputs.parse(body))
    except ValueError as error:  # a column has values of the wrong type
        raise BadRequestError(" ".join(str(error).split())) from error
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
