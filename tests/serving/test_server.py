"""The server predicts like the registered model, and answers wrong requests with one sentence."""

from __future__ import annotations

import json
import socket
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from pipeline.serving import limits
from pipeline.serving.inputs import InputSpec
from pipeline.serving.server import listen
from pipeline.tracking.store import Store
from tests.serving.server import Server, serving

SHAPE = (8, 8, 1)


def test_served_predictions_are_those_of_the_registered_model(
    server: Server, model: Any, images: np.ndarray
) -> None:
    assert f"digits version 1: http://127.0.0.1:{server.port}\n" in server.log.read_text()
    offline = model.predict(images)
    answer = server.post(images.tolist())
    assert answer.status_code == 200
    for i, prediction in enumerate(answer.json()["predictions"]):
        assert prediction["class"] == offline["class"][i]
        assert list(prediction["probabilities"].values()) == offline["probabilities"][i].tolist()
    one = server.post(images[0].tolist())
    assert [p["class"] for p in one.json()["predictions"]] == [offline["class"][0]]


BAD = {
    "": "JSON",
    "nonsense": "JSON",
    "[" * 100_000: "JSON",
    '{"input": []}': '{"inputs": …}',
    '{"inputs": null}': "numbers",
    '{"inputs": "text"}': "numbers",
    '{"inputs": [[1], [1, 2]]}': "equally long",
    '{"inputs": []}': "(n, 8, 8, 1)",
    '{"inputs": [[1, 2], [3, 4]]}': "(n, 8, 8, 1)",
    json.dumps({"inputs": np.full(SHAPE, 17).tolist()}): "from 0 to 16",
    json.dumps({"inputs": np.full(SHAPE, 0.5).tolist()}): "whole numbers",
    json.dumps({"inputs": np.full(SHAPE, -1).tolist()}): "from 0 to 16",
    json.dumps({"inputs": np.full(SHAPE, np.nan).tolist()}): "NaN",
    json.dumps({"inputs": np.full(SHAPE, True).tolist()}): "numbers",
    json.dumps({"inputs": np.full(SHAPE, 1).tolist()}).replace("1", "true", 1): "numbers only",
    json.dumps({"inputs": np.full(SHAPE, 1 << 70).tolist()}): "numbers",
}


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_wrong_request_gets_one_sentence(server: Server, body: str) -> None:
    answer = server.send(body)
    assert answer.status_code == 400
    assert BAD[body] in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_only_json_is_read_so_that_pages_of_other_sites_cannot_post(
    server: Server, images: np.ndarray, kind: str
) -> None:
    body = json.dumps({"inputs": images[0].tolist()})
    assert server.send(body, kind).status_code == 415
    assert server.send(body, "Application/JSON; charset=utf-8").status_code == 200


def test_body_has_a_limit_on_both_sides(server: Server) -> None:
    limit = requests.get(server.url, timeout=30).json()["max_bytes"]
    assert limit == InputSpec(SHAPE, 16).max_bytes
    body = json.dumps({"inputs": [np.zeros(SHAPE, int).tolist()]})
    assert server.send(body + " " * (limit - len(body))).status_code == 200
    assert server.send(body + " " * (limit + 1 - len(body))).status_code == 413

    def pieces() -> Any:  # without Content-Length
        yield body.encode()
        for _ in range(limit // 1024 + 1):
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/invocations", pieces(), headers=headers, timeout=30)
    assert answer.status_code == 413
    assert answer.json()["error"] == "the body is larger than 500 KiB: send fewer inputs at once"


def test_limit_of_a_body_follows_the_size_of_an_image() -> None:
    digits, cifar = InputSpec((8, 8, 1), 16), InputSpec((32, 32, 3), 255)
    assert digits.max_bytes == 1000 * 64 * 8
    assert (1 << 22) - 3072 * 8 < cifar.max_bytes <= 1 << 22
    assert InputSpec((2000, 2000, 3), 255).max_bytes == 2000 * 2000 * 3 * 8  # one image
    assert InputSpec(columns=("a", "b")).max_bytes == 1 << 18


def test_slow_clients_are_dropped(server: Server, images: np.ndarray) -> None:
    silent, slow = server.connect(), server.connect()
    slow.sendall(
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"inputs'
    )
    assert server.post(images[0].tolist()).status_code == 200  # others are served meanwhile
    answer = HTTPResponse(slow)
    answer.begin()
    assert answer.status == 408
    assert f"within {limits.READ_SECONDS} seconds" in answer.read().decode()
    assert silent.recv(1) == b""
    for connection in (silent, slow):
        connection.close()


def test_hang_up_is_one_line_of_the_log(server: Server, images: np.ndarray) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert server.post(images[0].tolist()).status_code == 200
    assert server.send("nonsense").status_code == 400
    assert server.post(images[0].tolist()).status_code == 200
    text = server.log.read_text()
    assert "Traceback" not in text
    assert "127.0.0.1 closed the connection before the end of its request" in text
    assert "127.0.0.1: 400 the request is not JSON" in text


def test_server_describes_its_input_and_answers_under_local_names_only(server: Server) -> None:
    about = requests.get(server.url, timeout=30).json()
    assert about["inputs"] == {"shape": ["n", 8, 8, 1], "from": 0, "to": 16}
    assert about["model"]["name"] == "digits"
    for host, status in (("localhost:80", 200), ("[::1]:80", 200), ("example.org", 400)):
        answer = requests.get(server.url, headers={"Host": host}, timeout=30)
        assert answer.status_code == status, host


def test_host_is_checked_on_ipv6_too(model: Any, store: Store, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    arguments = ("--name", "digits", "--tracking-uri", store.uri)
    with serving(*arguments, log=tmp_path / "log", host="::1") as started:
        assert requests.get(started.url, timeout=30).status_code == 200
        assert f"http://[::1]:{started.port}\n" in (tmp_path / "log").read_text()
        foreign = requests.get(started.url, headers={"Host": "example.org"}, timeout=30)
        assert foreign.status_code == 400


def test_taken_port_is_one_sentence(server: Server) -> None:
    with pytest.raises(SystemExit, match=r"cannot listen on port \d+ of 127.0.0.1 .*PORT="):
        listen("127.0.0.1", server.port)
