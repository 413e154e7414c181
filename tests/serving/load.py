"""Puts a server under load: python tests/serving/load.py URL FOLDER [--requests 1000].

The folder holds images.npy, raw inputs of the model, and classes.npy, the expected classes. Exits
with 1 if an answer is wrong, if a slow client is not dropped, or if an oversized body is accepted.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import requests

WORKERS = 8
HEAD = (
    "POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    'Content-Length: 1000\r\n\r\n{{"inputs"'
)


class Load:
    """The requests to one server."""

    def __init__(self, url: str, folder: Path) -> None:
        """Read the inputs and the expected classes."""
        self.url = url
        self.images = np.load(folder / "images.npy")
        self.classes = np.load(folder / "classes.npy").tolist()

    def is_right(self, number: int) -> bool:
        """Ask for the classes of 1 to 20 images and compare them."""
        rng = random.Random(number)
        start = rng.randrange(len(self.images))
        part = slice(start, start + rng.randint(1, 20))
        body = {"inputs": self.images[part].tolist()}
        answer = requests.post(f"{self.url}/invocations", json=body, timeout=120)
        found = [one["class"] for one in answer.json().get("predictions", [])]
        return answer.status_code == 200 and found == self.classes[part]

    def is_dropped(self, connection: socket.socket) -> bool:
        """Wait until the server answers a slow client with 408 and closes."""
        connection.settimeout(120)
        with connection:
            return b" 408 " in connection.recv(1000)

    def slow_client(self) -> socket.socket:
        """Send a part of a request."""
        parts = urlsplit(self.url)
        connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=60)
        connection.sendall(HEAD.format(host=parts.hostname).encode())
        return connection

    def is_refused(self, number: int) -> bool:
        """Send 64 MiB of empty objects, or of one number, as JSON."""
        unit = (b"{},", b"0,")[number % 2]
        body = b'{"inputs": [' + unit * ((1 << 26) // len(unit)) + b"0]}"
        headers = {"Content-Type": "application/json"}
        try:
            answer = requests.post(
                f"{self.url}/invocations", data=body, headers=headers, timeout=120
            )
        except requests.ConnectionError:  # closed while the client was still sending
            return True
        return answer.status_code == 413 and "error" in json.loads(answer.content)


def main() -> None:
    """Send all requests at the same time and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    for name, default in (("requests", 1000), ("slow", 50), ("oversized", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    load = Load(options.url, options.folder)
    slow = [load.slow_client() for _ in range(options.slow)]
    with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(max(1, options.slow)) as waiting:
        dropped = waiting.map(load.is_dropped, slow)
        refused = pool.map(load.is_refused, range(options.oversized))
        right = pool.map(load.is_right, range(options.requests))
        counts = sum(right), sum(dropped), sum(refused)
    planned = options.requests, options.slow, options.oversized
    print(f"{counts[0]} of {planned[0]} answers are right")
    print(f"{counts[1]} of {planned[1]} slow clients were dropped")
    print(f"{counts[2]} of {planned[2]} oversized bodies were refused")
    sys.exit(counts != planned)


if __name__ == "__main__":
    main()
