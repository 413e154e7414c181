"""Downloads into the cache folder, from a web server on this machine."""

from __future__ import annotations

import hashlib
import io
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.config import DataConfig
from pipeline.data.load import load, load_test
from tests.data.samples import (
    CIFAR10_ARCHIVE,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    assert_consistent,
    assert_error,
    cifar10_archive,
    fashion_mnist_files,
    in_folder,
    write,
)

WRONG_CHECKSUM = {CIFAR10_ARCHIVE: "md5:" + "0" * 32}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "population-sweep"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Site:
    """A folder that a web server on this machine publishes, for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        handler = partial(QuietHandler, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def config(self, name: str) -> DataConfig:
        """Return a configuration that downloads the present files of the folder."""
        checksums = {
            path.name: f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
            for path in self.folder.iterdir()
        }
        return DataConfig(name=name, dir=None, url=self.url, files=checksums)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    yield site
    site.close()


def test_cached_download_needs_no_network(
    site: Site, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(site.folder, fashion_mnist_files())
    config = site.config("fashion_mnist")
    data = load(config, "float32")
    assert sorted(path.name for path in (cache / "fashion_mnist").iterdir()) == sorted(config.files)
    assert data.digest == load(in_folder("fashion_mnist", site.folder), "float32").digest
    site.close()
    assert load(config, "float32").digest == data.digest
    assert len(load_test(config, "float32")[1]) == 12
    assert capfd.readouterr() == ("", "")


def test_cifar10_archive_is_downloaded_and_read(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    config = site.config("cifar10")
    assert_consistent(load(config, "float32"))
    assert len(load_test(config, "float32")[1]) == 4
    assert [path.name for path in (cache / "cifar10").iterdir()] == [CIFAR10_ARCHIVE]


def test_download_in_a_terminal_shows_a_progress_bar(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    load(site.config("cifar10"), "float32")
    assert "100%" in terminal.getvalue()


def test_damaged_cached_file_is_downloaded_again(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    config = site.config("cifar10")
    write(cache / "cifar10", {CIFAR10_ARCHIVE: b"damaged"})
    assert_consistent(load(config, "float32"))


def test_download_with_wrong_checksum_is_discarded(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    config = DataConfig(name="cifar10", dir=None, url=site.url, files=WRONG_CHECKSUM)
    parts = ("MD5 hash", "expected md5:000", "data.dir=DIR", str(cache / "cifar10"))
    assert_error(config, CIFAR10_ARCHIVE, *parts)
    assert list((cache / "cifar10").iterdir()) == []


def test_http_404_names_the_address(site: Site, cache: Path) -> None:
    config = DataConfig(name="cifar10", dir=None, url=site.url, files=WRONG_CHECKSUM)
    assert_error(config, "404", f"{site.url}{CIFAR10_ARCHIVE}", "data.dir=DIR")


def test_refused_connection_asks_for_data_dir(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        checksums = dict.fromkeys([TRAIN_IMAGES, TRAIN_LABELS], "md5:" + "0" * 32)
        config = DataConfig(name="fashion_mnist", dir=None, url=url, files=checksums)
        assert_error(config, TRAIN_IMAGES, "Connection refused", TEST_LABELS, "data.dir=DIR")


def test_missing_url_asks_for_data_dir(cache: Path) -> None:
    config = DataConfig(name="cifar10", dir=None, url=None, files=WRONG_CHECKSUM)
    assert_error(config, "data.url is null", CIFAR10_ARCHIVE, str(cache / "cifar10"))


def test_invalid_url_asks_for_data_dir(cache: Path) -> None:
    for url in ("file:///data", "nonsense", "http://"):
        config = DataConfig(name="cifar10", dir=None, url=url, files=WRONG_CHECKSUM)
        assert_error(config, "could not be downloaded", "data.dir=DIR")


@pytest.mark.parametrize("files", [{}, {CIFAR10_ARCHIVE: "blake9:00"}, {CIFAR10_ARCHIVE: ""}])
def test_download_requires_a_checksum(site: Site, cache: Path, files: dict[str, str]) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    assert_error(DataConfig(name="cifar10", dir=None, url=site.url, files=files), CIFAR10_ARCHIVE)
    assert not (cache / "cifar10" / CIFAR10_ARCHIVE).exists()


def test_unwritable_cache_asks_for_data_dir(site: Site, cache: Path) -> None:
    write(site.folder, {CIFAR10_ARCHIVE: cifar10_archive()})
    cache.parent.mkdir()
    cache.write_text("a file where the cache folder should be")
    assert_error(site.config("cifar10"), "could not be downloaded", "data.dir=DIR")
