"""Hostile and broken input: files, names and overrides that want to do harm, or just are wrong."""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.analysis.choice import load_weights
from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset, load, load_test
from pipeline.data.files import CIFAR10_ARCHIVE, CIFAR10_TEST, CIFAR10_TRAIN
from pipeline.errors import PipelineError
from pipeline.paths import ROOT
from pipeline.report.report import write_report
from pipeline.tracking.store import Point, Store
from pipeline.ui import server_command

CODE = ("pipeline", "hydra_plugins", "benchmarks", "examples", "tests")
CIFAR10 = os.environ.get("CIFAR10_DIR", "")
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


# Pickle: no code that reads or writes it, and no file that is one


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What of a module could load an object from a file, or run a text."""
    modules = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal"}
    calls = {"eval", "exec", "read_pickle", "to_pickle", "unsafe_load", "full_load"}
    qualified = {"joblib.load", "joblib.dump", "yaml.load", "torch.load", "torch.save"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            if text.rpartition(".")[2] in calls - ({"eval"} if "." in text else set()):
                yield text  # torch's model.eval() evaluates no text
            if text in qualified:
                yield text
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield ast.unparse(node)
            continue
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in modules)


def test_no_module_uses_pickle_or_runs_text() -> None:
    paths = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 20
    found = {
        str(path): names
        for path in paths
        if (names := list(forbidden(ast.parse(path.read_text()))))
        # PyTorch is measured as its users use it: what it saves there, nothing reads.
        and ("peers" not in path.parts or names != ["torch.save"])
    }
    assert not found
    bad = "import pickle\nnp.load(x, allow_pickle=True)\npd.read_pickle(x)\neval(x)"
    assert len(list(forbidden(ast.parse(bad)))) == 4


HOSTILE_EXPERIMENT = "../../<script>alert(1)</script> | `x` '; DROP TABLE runs"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a sweep whose experiment would like to lie elsewhere, and to be markup."""
    outputs = tmp_path_factory.mktemp("hostile") / "outside" / "outputs"
    value = '"' + HOSTILE_EXPERIMENT.replace('"', r"\"") + '"'
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "-m", "hidden_size=4,8", "num_epochs=1"),
            *("learning_rate=1", "hydra.launcher.shards=1", f"tracking.experiment={value}"),
        ],
        cwd=ROOT,
        env=os.environ | {"PIPELINE_OUTPUTS": str(outputs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return outputs


def is_open(path: Path) -> None:
    """Read a file that a sweep has written as what it is; it must not be a pickle."""
    content = path.read_bytes()
    assert content[:1] != b"\x80", f"{path} opens like a pickle"
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].dtype.kind in "fiubUS" for name in file)
    elif path.suffix == ".yaml":
        yaml.safe_load(content)
    elif path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".csv":
        assert list(csv.reader(content.decode().splitlines()))
    elif path.suffix == ".svg":
        assert ElementTree.fromstring(content).tag.endswith("}svg")
    elif path.suffix == ".db":
        assert content.startswith(b"SQLite format 3\0")
    else:
        assert path.suffix in (".html", ".md", ".log", ".lock"), f"of what kind is {path}?"
        content.decode()


def test_every_file_of_a_sweep_is_read_without_pickle(swept: Path) -> None:
    paths = [path for path in swept.rglob("*") if path.is_file()]
    for path in paths:
        is_open(path)
    kinds = {path.suffix for path in paths}
    assert {".npz", ".yaml", ".json", ".csv", ".db", ".html", ".md", ".log"} <= kinds


# Names that would lie outside of outputs/


def test_a_sweep_writes_nothing_outside_its_outputs(swept: Path) -> None:
    assert [path.name for path in swept.parent.parent.iterdir()] == ["outside"]
    assert [path.name for path in swept.parent.iterdir()] == ["outputs"]
    allowed = {"mlartifacts", "multirun", "reports", "mlflow.db", "mlflow.db.lock", "checkpoints"}
    assert {path.name for path in swept.iterdir()} <= allowed
    (experiment,) = (swept / "mlartifacts").iterdir()
    assert "/" not in experiment.name
    assert "<" not in experiment.name


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "x" * 300, "a\0b", "", "."])
def test_a_name_of_a_dataset_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(PipelineError, match=r"data\.name must be one of") as caught:
        load(DataConfig(name, str(tmp_path), None, {}), "float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
@pytest.mark.parametrize(
    "folder", ["a\0b", "~\0", "x" * 5000, "\udcff", "/proc/self/mem", "", "/dev/null", "no\nline"]
)
def test_a_folder_of_any_name_is_one_sentence(name: str, folder: str) -> None:
    with pytest.raises(PipelineError) as caught:
        load(DataConfig(name, folder, None, {}), "float32")
    sentence = str(caught.value)
    assert "folder" in sentence or (folder == "" and "put" in sentence)
    assert sentence.isprintable()


def test_no_file_is_downloaded_under_a_name_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"../../evil": "md5:" + "0" * 32, "/tmp/evil": "md5:" + "0" * 32}
    with pytest.raises(PipelineError, match="no checksum of cifar-10-binary"):
        load(DataConfig("cifar10", None, "http://127.0.0.1:9", files), "float32")
    assert [*tmp_path.rglob("*")] == []


@pytest.mark.parametrize("name", ["../x", "/x", "a/b/../../..", "..", "-rf", "<b>", "ü\u202e "])
def test_a_sweep_of_any_name_has_its_report_within_its_folder(
    swept: Path, tmp_path: Path, name: str
) -> None:
    store = Store(f"sqlite:///{swept}/mlflow.db")
    store.start_sweep(store.experiment("names"), name, "…")
    report = write_report(store, store.find_sweep(name), tmp_path / "reports")
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
    assert report.folder.resolve().parent == tmp_path / "reports"
    assert (report.folder / "report.html").exists()


# The report of a store in which everything is markup

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(2)>',
    "' onmouseover='alert(3)' style='background:url(//evil.example)",
    "</title></style></svg></table><svg onload=alert(4)><!--",
    "{{ 7*7919 }}{% raise %}${x}&lt;b&gt;&#60;i&#62;",
    "[a](javascript:alert(5)) ![b](http://evil.example) `c` **d** _e_ ~f~ | g |\\| <h@i.k>",
    "\x1b[31mred\x07\u202egnp.exe\ufeff\x00end",
    "x" * 300,
]


GRID = {"hidden_size": 4, "l2_reg": 1e-4, "learning_rate": 1.0}


@pytest.fixture(scope="module")
def page(swept: Path) -> tuple[str, str, str]:
    """The report as HTML and Markdown, and what of the hostile texts a reader must see."""
    store = Store(f"sqlite:///{swept}/mlflow.db")
    texts = iter(MARKUP * 9)
    experiment = store.experiment(HOSTILE_EXPERIMENT)
    sweep = store.start_sweep(experiment, " ".join(MARKUP[:2]), " ".join(MARKUP))
    weights = next(swept.glob("mlartifacts/*/*/artifacts/weights.npz")).parent
    for number, outcome in enumerate(("finished", "finished", "diverged", "failed", "odd", "")):
        facts = {"job": str(number), "dataset": next(texts), "dataset_digest": next(texts)}
        if outcome in ("finished", "diverged"):
            facts |= {"num_train": "1079", "num_val": "359"}
        run_id = store.start_run(experiment, MARKUP[number], facts, sweep)
        keys = ("learning_rate_decay", "num_epochs", "dtype", "data.name", "weight_std", "seed")
        params: dict[str, Any] = {key: next(texts) for key in keys}
        params |= GRID if "num_val" in facts else dict.fromkeys(GRID, next(texts))
        values = {"best_val_acc": 0.5, "best_val_loss": 1.0, "best_epoch": 1, "val_acc": 0.5}
        points = [Point(1, 1, values if outcome == "finished" else {"train_loss": 1.0})]
        tags = {"outcome": outcome, "error": "\n".join(MARKUP)} if outcome else {}
        store.log(run_id, points, params, tags | {"diverged_epoch": "1"})
        if number == 0:
            store.log_files(run_id, weights)
    report = write_report(store, store.find_sweep(sweep.name), swept / "reports")
    assert report.best is not None
    html, markdown = (
        (report.folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md")
    )
    return html, markdown, " ".join(MARKUP[:6])


class Reader(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


PAGE_TAGS = """
html head meta title style body header div h1 h2 p main ul ol li section table caption
thead tbody tr th td figure figcaption img span dl dt dd h3 script"""
SVG_TAGS = """
svg g defs path use text tspan rect clippath metadata rdf:rdf cc:work dc:type dc:date
dc:format dc:creator cc:agent dc:title"""


def test_markup_in_a_store_is_text_on_the_page(page: tuple[str, str, str]) -> None:
    html, _, hostile = page
    reader = Reader(html)
    assert {tag for tag, _ in reader.tags} <= {*PAGE_TAGS.split(), *SVG_TAGS.split()}
    assert all("evil" not in comment for comment in reader.comments)
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name, value in attributes.items():
            assert tag == "meta" or "evil" not in (value or "").replace(hostile, ""), (tag, name)
    seen = " ".join(reader.text.split())
    for text in MARKUP[:6]:
        assert seen.count(text) >= 4  # as name, value, error and in the command
    assert "55433" not in seen
    for letter in "\x1b\x07\u202e\ufeff\x00":
        assert letter not in html


def test_the_page_points_nowhere_and_forbids_itself_to(page: tuple[str, str, str]) -> None:
    html, _, _ = page
    reader = Reader(html)
    pointing = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
    for tag, attributes in reader.tags:
        for name in pointing & set(attributes):
            assert (attributes[name] or "").startswith(("data:image/png;base64,", "#")), (tag, name)
        for value in attributes.values():
            for target in re.findall(r"url\(\s*([^)]*)", value or ""):
                assert target.startswith("#")
    for style in re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL):
        assert "@import" not in style
        assert "url(" not in style
    (first, *_) = (a for tag, a in reader.tags if tag == "meta" and "http-equiv" in a)
    assert first["http-equiv"] == "Content-Security-Policy"
    policy = dict(part.split(maxsplit=1) for part in str(first["content"]).split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert policy["style-src"] == "'unsafe-inline'"
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy["script-src"])
    assert html.count("<script") == 1
    # A policy rules what comes after it.
    places = [html.index(text) for text in ("Content-Security-Policy", "<title", "<style", "<body")]
    assert places == sorted(places)


def test_markup_in_a_store_is_text_in_markdown(page: tuple[str, str, str]) -> None:
    _, markdown, _ = page
    bare = re.sub(r"\\[\\`*\[\]<>|~&_]", "", markdown)  # what is escaped cannot be markup
    assert not set("<>[]`~&") & set(bare)
    assert not re.search(r"(?<![^\W_])_|_(?![^\W_])", bare)
    for letter in "\x1b\x07\u202e\ufeff\x00":
        assert letter not in markdown
    plain = re.sub(r"\\([\\`*\[\]<>|~&_])", r"\1", markdown)
    for text in MARKUP[:6]:
        assert text in plain
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table.splitlines()}
        assert len(bars) == 1


# Archives


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(**records: str) -> bytes:
    member = tarfile.TarInfo("x")
    return member.create_pax_global_header(records)


BATCH = bytes(3073 * 2)
BATCH_FILE = BATCH + bytes(-len(BATCH) % 512)
WHOLE = b"".join(header(f"c/{name}", len(BATCH)) + BATCH_FILE for name in CIFAR10_TRAIN)


def archive_of(tmp_path: Path, content: bytes) -> DataConfig:
    folder = tmp_path / "in" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CIFAR10_ARCHIVE).write_bytes(gzip.compress(content, 1))
    return DataConfig("cifar10", str(folder), None, {})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (header("../evil", 3) + b"abc" + bytes(509), "lies outside"),
        (header("c/../../evil", 3) + b"abc" + bytes(509), "lies outside"),
        (header("/tmp/evil", 3) + b"abc" + bytes(509), "lies outside"),
        (header("c", 0, tarfile.SYMTYPE, "/etc") + header("c/data_batch_1.bin", 0), "0 bytes"),
        (header("data_batch_1.bin", 0, tarfile.LNKTYPE, "/etc/passwd"), "no data_batch_1.bin"),
        (header("data_batch_1.bin", 0, tarfile.FIFOTYPE), "no data_batch_1.bin"),
        (header("data_batch_1.bin", 0, tarfile.CHRTYPE), "no data_batch_1.bin"),
        (header("data_batch_1.bin", 3073, tarfile.GNUTYPE_SPARSE), "no data_batch_1.bin"),
        (header("a", -512) * 2, "has the size -512"),  # a TarFile would go in circles
        ((header("././@LongLink", 2, b"L") + b"a\0" + bytes(510)) * 3000, "no data_batch_1.bin"),
        (header("x", 2_000_000, b"x") + b"1" * 2_000_000, "no data_batch_1.bin"),  # it would search
        (header("data_batch_1.bin", 1 << 62), "0 bytes"),
        (pax(size="99999999999999999999"), "no data_batch_1.bin"),
        (pax(path="../../evil"), "no data_batch_1.bin"),
    ],
)
def test_a_hostile_archive_writes_nothing_and_ends(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    with pytest.raises(PipelineError, match=problem) as caught:
        load(archive_of(tmp_path, content), "float32")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "data", CIFAR10_ARCHIVE]


def test_an_archive_with_extended_headers_and_links_beside_the_batches_is_read(
    tmp_path: Path,
) -> None:
    beside = pax(comment="packed again") + header(
        "c/latest", 0, tarfile.SYMTYPE, "data_batch_1.bin"
    )
    data = load(archive_of(tmp_path, beside + WHOLE), "float32")
    assert (data.X_train.shape, data.X_val.shape) == ((8, 3072), (2, 3072))


def test_an_archive_is_read_in_the_memory_of_what_it_may_hold(tmp_path: Path) -> None:
    """A bomb within an archive: a member before the batches that would take a gigabyte."""
    config = archive_of(tmp_path, WHOLE)
    packed = gzip.compress(header("c/readme", 1 << 30)) + gzip.compress(bytes(1 << 26), 1) * 16
    Path(str(config.dir), CIFAR10_ARCHIVE).write_bytes(packed)
    tracemalloc.start()
    try:
        with pytest.raises(PipelineError, match="more than the 185,"):
            load(config, "float32")
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    for file in (*SMALL_FILES[name],):
        os.mkfifo(tmp_path / file)
    with pytest.raises(PipelineError, match=r"cannot be read \(it is not a file\)"):
        load(DataConfig(name, str(tmp_path), None, {}), "float32")


def test_a_file_larger_than_any_published_is_not_even_read(tmp_path: Path) -> None:
    with (tmp_path / CIFAR10_ARCHIVE).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PipelineError, match="more than the 185,"):
        load(DataConfig("cifar10", str(tmp_path), None, {}), "float32")


# Damage to the files of the datasets, wherever it falls


def small_files() -> dict[str, dict[str, bytes]]:
    rng = np.random.default_rng(0)
    fashion = {}
    for part, count in (("train", 30), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 784), dtype=np.uint8).tobytes()
        labels = bytes(i % 10 for i in range(count))
        fashion[f"{part}-images-idx3-ubyte.gz"] = struct.pack(">4I", 2051, count, 28, 28) + images
        fashion[f"{part}-labels-idx1-ubyte.gz"] = struct.pack(">2I", 2049, count) + labels
    rows = rng.integers(0, 256, (6, 3, 3073), dtype=np.uint8)
    rows[:, :, 0] %= 10
    names = CIFAR10_TRAIN + CIFAR10_TEST
    batches = {name: batch.tobytes() for name, batch in zip(names, rows, strict=True)}
    members = (header(f"c/{n}", len(b)) + b + bytes(-len(b) % 512) for n, b in batches.items())
    return {
        "fashion_mnist": fashion,
        "cifar10": batches,
        "archive": {CIFAR10_ARCHIVE: b"".join(members) + bytes(1024)},
    }


SMALL_FILES = small_files()
SHAPES = {
    "fashion_mnist": ((25, 784), (5, 784), (10, 784)),
    "cifar10": ((12, 3072), (3, 3072), (3, 3072)),
}
SHAPES["archive"] = SHAPES["cifar10"]


def outcome(name: str, folder: Path) -> tuple[Dataset, np.ndarray[Any, Any]] | None:
    """The data, of consistent shapes and labels; None after one clear error."""
    config = DataConfig("cifar10" if name == "archive" else name, str(folder), None, {})
    try:
        data, (X_test, y_test) = load(config, "float32"), load_test(config, "float32")
    except PipelineError as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error) or "images" in str(error)
        assert " object at " not in str(error)
        return None
    for X, y in ((data.X_train, data.y_train), (data.X_val, data.y_val), (X_test, y_test)):
        assert X.shape == (len(y), SHAPES[name][0][1])
        assert len(y) > 0
        assert 0 <= y.min() <= y.max() <= 9
        assert np.isfinite(X).all()
    return data, X_test


damage = st.lists(
    st.tuples(
        st.floats(0, 1),  # where
        st.sampled_from(["flip", "cut", "insert", "zeros", "double"]),
        st.binary(min_size=1, max_size=600),
    ),
    min_size=1,
    max_size=3,
)


def damaged(content: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for where, kind, new in changes:
        at = int(where * len(content))
        content = {
            "flip": content[:at] + new + content[at + len(new) :],
            "cut": content[:at] + content[at + len(new) :],
            "insert": content[:at] + new + content[at:],
            "zeros": content[:at] + bytes(len(new)) + content[at + len(new) :],
            "double": content + content[at:],
        }[kind]
    return content


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(["fashion_mnist", "cifar10", "archive"]),
    file=st.integers(0, 5),
    packed=st.booleans(),
    changes=damage,
)
@example(name="archive", file=0, packed=False, changes=[(0.0, "flip", b"\xff" * 512)])
@example(name="archive", file=0, packed=False, changes=[(0.007, "flip", b"\x80" + b"\xff" * 11)])
def test_damage_anywhere_is_one_error_or_changes_the_digest(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    file: int,
    packed: bool,
    changes: list[tuple[float, str, bytes]],
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    files = dict(SMALL_FILES[name])
    key = sorted(files)[file % len(files)]
    for other, content in files.items():
        content = content if packed or other != key else damaged(content, changes)
        content = gzip.compress(content, 1) if other.endswith(".gz") else content
        content = damaged(content, changes) if packed and other == key else content
        (folder / other).write_bytes(content)
    got = outcome(name, folder)
    if got is not None:
        data, clean = got[0], undamaged(name, tmp_path_factory)[0]
        same = all(np.array_equal(getattr(data, key), getattr(clean, key)) for key in ARRAYS)
        assert same == (data.digest == clean.digest)


ARRAYS = ("X_train", "y_train", "X_val", "y_val")
CLEAN: dict[str, tuple[Dataset, np.ndarray[Any, Any]]] = {}


def undamaged(name: str, factory: pytest.TempPathFactory) -> tuple[Dataset, np.ndarray[Any, Any]]:
    if name not in CLEAN:
        folder = factory.mktemp("whole")
        for file, content in SMALL_FILES[name].items():
            (folder / file).write_bytes(gzip.compress(content) if file.endswith("gz") else content)
        found = outcome(name, folder)
        assert found is not None
        CLEAN[name] = found
    return CLEAN[name]


@pytest.mark.parametrize(
    ("name", "source", "file"),
    [
        pytest.param(
            "fashion_mnist",
            FASHION_MNIST,
            "train-images-idx3-ubyte.gz",
            marks=pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="no Fashion-MNIST here"),
        ),
        pytest.param(
            "cifar10",
            Path(CIFAR10, "cifar-10-batches-bin"),
            "data_batch_1.bin",
            marks=pytest.mark.skipif(not CIFAR10, reason="CIFAR10_DIR names no folder"),
        ),
    ],
)
def test_a_published_file_cut_short_is_one_error(
    tmp_path: Path, name: str, source: Path, file: str
) -> None:
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    content = (source / file).read_bytes()
    for share in (0.1, 0.9):  # of CIFAR-10 that is a whole number of rows
        (tmp_path / file).unlink()
        (tmp_path / file).write_bytes(content[: int(share * len(content))])
        with pytest.raises(PipelineError, match=r"damaged|equal"):
            load(DataConfig(name, str(tmp_path), None, {}), "float32")


# The weights of a run


def npz(**arrays: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def weights(D: int = 6, H: int = 3, C: int = 2, **other: Any) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    shapes = {"W1": (D, H), "b1": (H,), "W2": (H, C), "b2": (C,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()} | other


def read(content: bytes, folder: Path) -> Any:
    """Weights as the report reads them from a run, here one without a store."""
    path = folder / "weights.npz"
    path.write_bytes(content)
    store: Any = SimpleNamespace(fetch=lambda *_: path)
    return load_weights(store, "r1")


def lying(shape: str, kind: str = "<f4") -> bytes:
    """An archive whose W1 says more of itself than it holds."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    entry = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(72)
    buffer = io.BytesIO(npz(**{k: v for k, v in weights().items() if k != "W1"}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("W1.npy", entry)
    return buffer.getvalue()


def bomb() -> bytes:
    """Twenty kilobytes that would be a W1 of twenty megabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in weights(D=10, H=1 << 18).items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.zeros_like(array), allow_pickle=False)
    return buffer.getvalue()


OBJECTS = np.array([{"a": 1}], dtype=object)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda: b"", "not a zip"),
        (lambda: npz(**weights())[:-30], "not a zip"),
        (lambda: npz(W1=np.ones((2, 2))), "b1"),
        (lambda: npz(**weights(b1=np.ones(4))), r"shapes \(6, 3\), \(4,\)"),
        (lambda: npz(**weights(W1=np.ones(18))), "shapes"),
        (lambda: npz(**weights(b2=np.ones(()))), "sized|shapes|len"),
        (lambda: npz(**weights(D=0)), "shapes"),
        (lambda: npz(**weights(W1=np.ones((6, 3), int))), "not float32"),
        (lambda: npz(**weights(W1=np.ones((6, 3), ">f4"))), "not float32"),
        (lambda: npz(**weights(b2=np.array([1, np.nan]))), "not finite"),
        (lambda: npz(**weights(W1=OBJECTS)), "allow_pickle"),
        (lambda: lying("(1000000000000, 3)"), "allocate"),
        (lambda: lying("(6, 300)"), "EOF"),
        (lambda: lying("(-6, 3)"), "negative|EOF|reshape|shapes"),
        (lambda: lying("(6, 3), 'x': " + "[" * 40), "EOF in multi-line"),
        (lambda: lying("(6, 3)", "|O"), "allow_pickle"),
        (bomb, "larger than the file"),
    ],
)
def test_weights_that_are_none(tmp_path: Path, content: Callable[[], bytes], problem: str) -> None:
    with pytest.raises(PipelineError, match=problem) as caught:
        read(content(), tmp_path)
    assert str(caught.value).startswith("weights.npz of run r1 is damaged (")
    assert "\n" not in str(caught.value)


WEIGHTS = weights()
WEIGHTS_FILE = npz(**WEIGHTS)


@settings(max_examples=150, deadline=None)
@given(changes=damage)
@example(changes=[(0.0, "flip", b"PK\x01\x02")])
def test_damaged_weights_are_one_error_or_the_same_weights(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, str, bytes]]
) -> None:
    try:
        params = read(damaged(WEIGHTS_FILE, changes), tmp_path_factory.mktemp("weights"))
    except PipelineError as error:
        assert "weights.npz of run r1 is damaged (" in str(error)
        assert "\n" not in str(error)
    else:
        for array, expected in zip(params, WEIGHTS.values(), strict=True):
            assert np.array_equal(array.ravel(), expected.ravel())


# Servers


def test_every_server_that_is_started_here_listens_on_this_machine_alone() -> None:
    assert "--host 127.0.0.1" in " ".join(server_command("sqlite:////x/mlflow.db", 5000))
    paths = [ROOT / "README.md", ROOT / "Makefile"]
    paths += [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    for path in paths:
        text = path.read_text()
        assert path == Path(__file__) or "0.0.0.0" not in text, path
        for call in re.findall(r"(?:HTTPServer|TCPServer|create_server)\(([^)]*)", text):
            asked = "(host" in call and '"--host", default="127.0.0.1"' in text
            assert "127.0.0.1" in call or asked, path
