"""MLflow's sqlite database: there before the first writer, and refused where it is none."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from sqlalchemy.engine import make_url

from antidote.core.checks import BadInput, require
from antidote.engine.disk import Lock

SQLITE = "sqlite:///"
_prepared: set[Path] = set()


def address(path: Path) -> str:
    """The file as MLflow is told of it; ? and %20, which mean something there, are quoted."""
    plain, quoted = SQLITE + str(path), SQLITE + quote(os.fsencode(path))
    told = plain if make_url(plain).database == str(path) else quoted
    require(
        make_url(told).database == str(path),
        f"{path} cannot be a database's address, which is of Unicode letters; choose another "
        "output, another logger.tracking_uri, or logger=none",
    )
    return told


def client_of(path: Path) -> MlflowClient:
    """MLflow's own; the folder that it makes by a quoted name is taken away again."""
    told = address(path)
    client, stray = MlflowClient(told), Path(told.removeprefix(SQLITE)).parent
    with suppress(OSError):  # where it is not empty it is somebody's
        while not path.is_relative_to(stray):
            stray.rmdir()
            stray = stray.parent
    return client


def setting_of(uri: str) -> str:
    """The setting that leads to an address."""
    return SQLITE + str(make_url(uri).database) if uri.startswith(SQLITE) else uri


def file_of(uri: str) -> Path | None:
    """The database file that a setting names, as it is written; None for a server."""
    if not uri.startswith(SQLITE):
        return None
    return Path(uri.removeprefix(SQLITE)).expanduser()


def prepare(path: Path) -> None:
    """Creates a database that is missing; raises `BadInput` for a file that is no MLflow database.

    It is made under another name, closed and renamed: MLflow creates its tables one by one and
    without a lock, and a process killed meanwhile would leave what no later one can open.
    """
    address(path)
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
    client = client_of(half)
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
    """What is wrong with it, or nothing."""
    # while a log is beside it the first page may say more than has been written yet
    logged = path.with_name(f"{path.name}-wal").exists()
    with path.open("rb") as file:
        head = file.read(100)
    if head[:16] != b"SQLite format 3\0":
        return "not an SQLite file"
    page = int.from_bytes(head[16:18], "big")
    size = (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
    if path.stat().st_size < size and not logged:
        return "cut short"
    try:
        with closing(sqlite3.connect(path)) as connection:
            tables = {n for (n,) in connection.execute("select name from sqlite_master")}
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if {"experiments", "runs", "alembic_version"} <= tables else "tables are missing"
