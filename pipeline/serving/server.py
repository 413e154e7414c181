"""Serves the champion over HTTP: python -m pipeline.serve [--name NAME] [--port 8000].

    POST /invocations  {"inputs": an image (height, width, channels), or several (n, …)}
                       {"inputs": a row of numbers (D), or several (n, D)}
                       {"dataframe_records": [{column: value, …}, …]}, for a model of a table
      → {"predictions": [{"class": …, "probabilities": {class: …}}, …], "model": …}
    GET /              the input and the classes of the model

Pixels are raw: whole numbers from 0 to the largest pixel value of the dataset. A wrong request gets
{"error": one sentence} and the status 400, 408, 413, 415 or 503.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import PipelineError
from pipeline.paths import default_tracking_uri
from pipeline.serving.inputs import BadRequestError, InputSpec
from pipeline.serving.limits import CONNECTIONS, BodyReader, ImpatientProtocol
from pipeline.serving.trust import UntrustedModelError, check_code
from pipeline.streams import make_robust
from pipeline.tracking.registry import ALIAS, Champion, Registry
from pipeline.tracking.store import Store
from pipeline.uris import redact

LOCAL = ["127.0.0.1", "localhost", "::1", "[::1]"]  # names of this machine

log = logging.getLogger("pipeline.serving")


@dataclass(frozen=True)
class Served:
    """A loaded champion."""

    champion: Champion
    model: Any  # MLflow's pyfunc model
    classes: Sequence[str]
    inputs: InputSpec


def load_champion(store: Store, name: str | None, *, trust: bool = False) -> Served:
    """Load the champion of a registered model.

    Args:
        store: the store of the registry.
        name: of the registered model; None: the latest champion of this project.
        trust: also load a model that runs other code than this project's.

    Raises:
        PipelineError: there is no champion, its files cannot be read, or its code is not trusted.
    """
    registry = Registry(store)
    champion = registry.champion(name)
    if champion is None:
        of = f" of {name}" if name else ""
        raise PipelineError(
            f"there is no {ALIAS}{of} in {redact(store.uri)}: register one with pipeline-promote"
        )
    try:
        model = registry.load(champion, None if trust else check_code)
    except UntrustedModelError as error:
        raise PipelineError(
            f"version {champion.version} of {champion.name} is not served, because {error}: add "
            "--trust if you trust all users with write access to the registry"
        ) from error
    arrays = model.unwrap_python_model().arrays
    return Served(
        champion=champion,
        model=model,
        classes=arrays["classes"].tolist(),
        inputs=_input_spec(model, arrays),
    )


def _input_spec(model: Any, arrays: Mapping[str, NDArray[Any]]) -> InputSpec:
    """Derive the input of a model from its signature and its preprocessing."""
    inputs = model.metadata.signature.inputs
    if "columns" in arrays:
        return InputSpec(columns=tuple(inputs.input_names()))
    largest = 255 if inputs.inputs[0].type == np.uint8 else None
    largest = int(arrays["largest"]) if "largest" in arrays else largest
    return InputSpec(shape=tuple(inputs.inputs[0].shape[1:]), largest=largest)


def application(served: Served, hosts: Sequence[str]) -> Starlette:
    """The web application.

    Args:
        served: the model.
        hosts: the names under which the server answers. Without this check, a page of another site
            could reach the server through a name that points to this machine.
    """
    about = {
        "model": served.champion._asdict(),
        "classes": list(served.classes),
        "inputs": served.inputs.describe(),
        "max_bytes": served.inputs.max_bytes,
        "predict": f"POST /invocations {served.inputs.example}",
    }
    reader = BodyReader(served.inputs.max_bytes)
    one_at_a_time = asyncio.Semaphore(1)  # JSON needs far more memory as Python objects

    async def describe(_: Request) -> Response:
        return JSONResponse(about)

    async def predict(request: Request) -> Response:
        body = await reader.read(request)
        try:
            async with one_at_a_time:
                answer = await run_in_threadpool(_predict, body, served)
        finally:
            reader.release(body)
        return JSONResponse(answer)

    return Starlette(
        routes=[
            Route("/", _one_line_errors(describe)),
            Route("/invocations", _one_line_errors(predict), methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )


Endpoint = Callable[[Request], Awaitable[Response]]


def _one_line_errors(endpoint: Endpoint) -> Endpoint:
    """Turn each error into a JSON answer and one line of the log."""

    async def wrapped(request: Request) -> Response:
        client = request.client.host if request.client else "a client"
        try:
            return await endpoint(request)
        except ClientDisconnect:
            log.warning("%s closed the connection before the end of its request", client)
            return Response(status_code=400)  # nobody receives it
        except BadRequestError as error:
            status, sentence = error.status, str(error)
        except Exception as error:
            reason = " ".join(str(error).split())
            status, sentence = 500, f"the model failed ({type(error).__name__}: {reason})"
        log.warning("%s: %d %s", client, status, sentence)
        return JSONResponse({"error": sentence}, status_code=status)

    return wrapped


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


def server_of(app: Starlette) -> uvicorn.Server:
    """A server with limits on the number of connections and on the time of each request."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port; if that is impossible, exit with one sentence."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        sys.exit(
            f"cannot listen on port {port} of {host} ({error}): choose another port with --port, "
            "or with make serve PORT=…"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    make_robust()
    parser = argparse.ArgumentParser(
        prog="pipeline-serve", description="Serve the champion over HTTP."
    )
    parser.add_argument(
        "--name", help="registered model (default: the one with the latest champion)"
    )
    parser.add_argument(
        "--host", default=LOCAL[0], help="address to listen on (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="(default: 8000)")
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    parser.add_argument(
        "--trust", action="store_true", help="also serve a model whose code is not this project's"
    )
    options = parser.parse_args(arguments)
    try:
        store = Store.open_existing(options.tracking_uri)
        served = load_champion(store, options.name, trust=options.trust)
    except PipelineError as error:
        sys.exit(str(error))
    listener = listen(options.host, options.port)
    champion = served.champion
    shown = f"[{options.host}]" if ":" in options.host else options.host
    print(f"{champion.name} version {champion.version}: http://{shown}:{options.port}", flush=True)
    hosts = LOCAL if options.host in LOCAL else ["*"]
    logging.basicConfig(format="%(levelname)s: %(message)s")
    server_of(application(served, hosts)).run(sockets=[listener])
