"""Invalid command lines: each ends with a message, and changes no finished run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.tracking.sqlite import open_database
from tests.torture.command import run
from tests.torture.lab import Lab, no_traceback
from tests.torture.trials import Kind, Outcome, Spot

LONG = "x" * 600
REPORT = "pipeline.report"
ARTIFACTS = re.compile(r"[^' ]*/mlartifacts")
# The arguments of the command, and a word that the message must contain. {here} is the
# trial's folder.
COMMANDS: list[tuple[str, str]] = [
    # Unknown or missing keys
    ("hiden_size=1", "hiden_size"),
    ("-m hiden_size=1,2", "hiden_size"),
    ("+new=1", "new"),
    ("data.nmae=x", "nmae"),
    ("+data.extra=1", "extra"),
    ("tracking.url=x", "url"),
    ("~hidden_size", "hidden_size"),
    ("~tracking", "tracking"),
    ("data=cifar10 ~data.files", "data.files"),
    ("-m hydra.launcher.shard=2", "shard"),
    # Wrong types
    ("hidden_size=many", "hidden_size"),
    ("-m hidden_size=many,few", "hidden_size"),
    ("hidden_size=1.5", "hidden_size"),
    ("hidden_size=[1,2]", "hidden_size"),
    ("hidden_size=true", "hidden_size"),
    ("hidden_size=", "hidden_size"),
    ("learning_rate=fast", "learning_rate"),
    ("l2_reg=null", "l2_reg"),
    ("dtype=float16", "dtype"),
    ("data=cifar10 data.dir=3", "data.dir"),
    ("data.files=3", "data.files"),
    ("tracking=3", "tracking"),
    ("tracking.uri=null", "tracking.uri"),
    ("tracking.experiment=''", "tracking.experiment"),
    ("tracking.checkpoint_minutes=never", "checkpoint_minutes"),
    ("-m hydra.launcher.shards=two", "shards"),
    ("-m hydra.launcher.halving=2", "halving.factor"),
    ("-m hydra/sweeper=optuna hydra.sweeper.params=3", "hydra.sweeper.params"),
    # Out of range
    ("hidden_size=0", "hidden_size"),
    ("batch_size=2000", "batch_size"),
    ("num_epochs=0", "num_epochs"),
    ("seed=-1", "seed"),
    ("learning_rate=inf", "learning_rate"),
    ("weight_std=-1", "weight_std"),
    ("tracking.checkpoint_minutes=-1", "checkpoint_minutes"),
    ("-m hydra.launcher.shards=0", "shards"),
    ("-m hydra.launcher.max_memory=-1", "max_memory"),
    ("hidden_size=1000000000000", "use at most"),
    ("hidden_size=99999999999999999999999", ""),
    # Unknown groups and files
    ("data=imagenet", "imagenet"),
    ("experiment=none_such", "none_such"),
    ("hydra/launcher=slurmish", "slurmish"),
    ("hydra/sweeper=magic", "magic"),
    ("--config-name=nothing", "nothing"),
    ("--config-path=/no/such", "/no/such"),
    # Invalid stores
    ("tracking.uri=http://127.0.0.1:9", "http://127.0.0.1:9"),
    ("-m tracking.uri=http://127.0.0.1:9 seed=0,1", "http://127.0.0.1:9"),
    ("tracking.uri=http://", "http://"),
    ("tracking.uri=ftp://x/y", "ftp://x/y"),
    ("tracking.uri=sqlite:////proc/none/x.db", "/proc/none/x.db"),
    ("tracking.uri=sqlite:///{here}/notes.txt", "notes.txt"),
    ("tracking.uri=sqlite:///{here}", "sqlite:///"),
    ("tracking.uri=postgresql://u:p@127.0.0.1:9/db", "postgresql"),
    ("-m tracking.uri=mysql://u:p@127.0.0.1:9/db", "mysql"),
    # Missing or damaged data
    ("data=cifar10 data.dir=/no/such/folder", "/no/such/folder"),
    ("data=fashion_mnist data.dir={here}/empty", "empty"),
    ("-m data=cifar10,fashion_mnist data.dir={here}/empty", "data cannot be swept"),
    ("data=cifar10 data.dir={here}/damaged", "damaged"),
    ("data=fashion_mnist data.dir={here}/pipes", "it is not a file"),
    ("data=cifar10 data.dir={here}/notes.txt", "notes.txt"),
    ("data.name=../x", "../x"),
    ("-m data.name=/etc,../x", "../x"),
    # Odd characters and malformed commands
    ("-m tracking.experiment='\udcff'", ""),
    ("data.name='\udcff'", ""),
    ("data.name='<script>'", "<script>"),
    (f"-m tracking.experiment={LONG}", "500"),
    (f"data=cifar10 data.dir=/{LONG}", "exist"),
    ("=5", ""),
    ("hidden_size", "hidden_size"),
    ("hidden_size=1,2", "multirun"),
    ("-m hidden_size=1,,2", ""),
    ("-m tracking.experiment=a,b hidden_size=4,8", "one value"),
    ("-m hydra/sweeper=optuna hidden_size=range(4,1e30)", "million"),
    ("-m hidden_size=range(1,", ""),
    ("-m data.dir=${{no.such.key}}", "no.such.key"),
    ("data.dir=${{oc.env:NO_SUCH_VARIABLE}}", "NO_SUCH_VARIABLE"),
    ("tracking.experiment=${{hidden_siz}}", "hidden_siz"),
    ("--no-such-flag", "--no-such-flag"),
    ("--cfg nonsense", "nonsense"),
    # Invalid reports
    (f"{REPORT} --sweep nowhere", "nowhere"),
    (f"{REPORT} --sweep it's", "it's"),
    (f"{REPORT} --sweep=", "there is no sweep"),
    (f"{REPORT} --sweep", "--sweep"),
    (f"{REPORT} --nonsense", "--nonsense"),
    (f"{REPORT} --sweep \udcff", ""),
    (f"{REPORT} --tracking-uri http://127.0.0.1:9", "http://127.0.0.1:9"),
    (f"{REPORT} --tracking-uri ftp://x", "ftp://x"),
    (f"{REPORT} --tracking-uri sqlite:////no/such/x.db", "/no/such/x.db"),
    (f"{REPORT} --tracking-uri sqlite:///{{here}}/notes.txt", "notes.txt"),
    (f"{REPORT} --tracking-uri sqlite:///{{here}}/empty.db", "there is no sweep"),
]


def bad_command(lab: Lab, spot: Spot) -> Outcome:
    """Run one command of the list, in outputs with a finished sweep."""
    text, word = COMMANDS[spot.number]
    outputs = spot.folder / "outputs"
    shutil.copytree(lab.finished, outputs, symlinks=True)
    _odd_files(spot.folder)
    open_database(f"sqlite:///{outputs}/mlflow.db")  # the artifacts have moved
    before = _rows(outputs / "mlflow.db"), _files(outputs)
    arguments = text.format(here=spot.folder).split()
    module = arguments.pop(0) if arguments[0] == REPORT else "pipeline"
    ended = run(outputs, *arguments, module=module)
    found = list(no_traceback(ended))
    if ended.code == 0:
        found.append("exit 0: it was accepted")
    if not ended.said.strip() or word not in ended.said:
        found.append(f"the message does not hold {word!r}: {ended.last_lines}")
    if before[0] - _rows(outputs / "mlflow.db"):
        found.append("rows of finished runs have changed")
    if before[1] - _files(outputs):
        found.append("files of finished runs have changed")
    shown = text if len(text) < 80 else f"{text[:40]}…"
    return Outcome(ascii(shown), found, ["commands"])


def _odd_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("notes, not a database\n" * 20)
    (folder / "empty.db").touch()
    for name in ("empty", "damaged", "pipes"):
        (folder / name).mkdir()
    (folder / "damaged" / "cifar-10-binary.tar.gz").write_bytes(b"\x1f\x8b not really")
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        os.mkfifo(folder / "pipes" / f"{part}-ubyte.gz")


def _rows(database: Path) -> set[tuple[str, str]]:
    """Every row of every table, as a digest, without the folder of the artifacts.

    A store that was moved records the new folder when it is opened.
    """
    with closing(sqlite3.connect(database, timeout=60)) as store:
        tables = [
            row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {
            (table, hashlib.sha256(ARTIFACTS.sub("", repr(row)).encode()).hexdigest())
            for table in tables
            for row in store.execute(f"SELECT * FROM {table}")
        }


def _files(outputs: Path) -> set[tuple[str, str]]:
    """Every file of a finished sweep but the store, as a digest."""
    folders = ("mlartifacts", "multirun", "reports")
    paths = (path for name in folders for path in (outputs / name).rglob("*"))
    return {
        (str(path.relative_to(outputs)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in paths
        if path.is_file() and "latest" not in path.parts
    }


KINDS = [
    Kind("command", "an invalid command line: unknown keys, wrong types, bad stores, missing data, "
         "odd characters", "the command exits with an error message and no traceback; finished "
         "runs in the store are unchanged", bad_command, len(COMMANDS), 4),
]  # fmt: skip
