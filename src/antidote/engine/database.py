"""MLflow's sqlite database: there before the first writer, and refused where it is none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient

from antidote.core.checks import BadInput, require
from antidote.engine.disk import Lock

_prepared: set[Path] = set()


def prepare(path: Path) -> None:
    """Creates a database that is missing; raises `BadInput` for a file that is no MLflow database.

    It is made under another name, closed and renamed: MLflow creates its tables one by one and
    without a lock, and a process killed meanwhile would leave what no later one can open.
    """
    require(
        "?" not in str(path),
        f"{path} holds a question mark, which cannot be part of a database's address; "
        "choose another output",
    )
    if path in _prepared and path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Lock(path, f"the database {path}"):
            if not path.exists():
                create(path)
            check(path)
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("pragma journal_mode=wal")
    except (OSError, sqlite3.OperationalError) as error:
        raise BadInput(
            f"MLflow's database {path} cannot be written ({error}); choose another output, or "
            "logger=none"
        ) from error
    _prepared.add(path)


def create(path: Path) -> None:
    half = path.with_name(f"{path.name}.half")
    for name in (half, *(half.with_name(f"{half.name}{end}") for end in ("-journal", "-wal"))):
        name.unlink(missing_ok=True)
    client = MlflowClient(f"sqlite:///{half}")
    client.search_experiments(max_results=1)  # creates and migrates
    client._tracking_client.store.engine.dispose()
    half.replace(path)


def check(path: Path) -> None:
    """Whole, and with MLflow's tables."""
    why = fault(path)
    require(
        not why,
        f"{path} is no sound MLflow database ({why}); move it away, the records of all runs are "
        "kept elsewhere, or choose another with logger.tracking_uri=sqlite:////path/to/mlflow.db",
    )


def fault(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(100)
    if head[:16] != b"SQLite format 3\0":
        return "not an SQLite file"
    page = int.from_bytes(head[16:18], "big")
    size = (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
    if path.stat().st_size < size:
        return "cut short"
    try:
        with closing(sqlite3.connect(path)) as connection:
            tables = {n for (n,) in connection.execute("select name from sqlite_master")}
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if {"experiments", "runs", "alembic_version"} <= tables else "tables are missing"
