"""MLflow's database: made whole, whoever is killed meanwhile, and refused where it is none."""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from forks import Child, at_statement, kill, until
from mlflow import MlflowClient

from antidote.core import BadInput
from antidote.engine import database
from antidote.engine.database import address, client_of, fault, file_of, prepare, setting_of
from antidote.engine.disk import Lock


def at_renaming() -> None:
    whole = Path.replace
    Path.replace = lambda half, to: kill() if to.name == "mlflow.db" else whole(half, to)


MOMENTS = {
    "before anything": lambda: setattr(database, "create", kill),
    "at the first statement": lambda: at_statement(1),
    "after a few tables": lambda: at_statement(60),
    "in the middle of migrations": lambda: at_statement(250),
    "before the renaming": at_renaming,
    "after the renaming": lambda: setattr(database, "check", kill),
}


def preparing(path: Path, patch) -> int:
    def work() -> None:
        patch()
        prepare(path)

    return Child(work).ended().returncode


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """(path of a database, {moment at which a maker was killed: (status, whether it was there)})"""
    path, found = tmp_path_factory.mktemp("killed") / "mlflow.db", {}
    for moment, patch in MOMENTS.items():
        found[moment] = preparing(path, patch), path.exists()
    return path, found


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_maker_leaves_no_database_or_a_whole_one(killed, moment):
    status, there = killed[1][moment]
    assert status == -9
    assert there == (moment == "after the renaming")


def test_after_all_these_kills_a_database_is_ready_and_sound(killed):
    path = killed[0]
    assert preparing(path, lambda: None) == 0
    assert fault(path) == ""
    client = MlflowClient(address(path))
    run = client.create_run(client.create_experiment("one"))
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert not list(path.parent.glob("*.half*"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "mlflow.db"
    prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    return path.read_bytes()


BROKEN = {
    "garbage": (lambda whole: os.urandom(4096), "not an SQLite file"),
    "empty": (lambda whole: b"", "not an SQLite file"),
    "half of it": (lambda whole: whole[: len(whole) // 2], "cut short"),
    "its first page": (lambda whole: whole[:4096], "cut short"),
    "a head and nothing": (lambda whole: whole[:100], "cut short"),
    "a garbled schema": (lambda whole: whole[:100] + bytes(3996) + whole[4096:], ""),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_database_is_one_sentence_with_the_file_and_the_way_out(tmp_path, sound, how):
    damage, why = BROKEN[how]
    path = tmp_path / "mlflow.db"
    path.write_bytes(damage(sound))
    before = path.read_bytes()
    with pytest.raises(BadInput) as said:
        prepare(path)
    sentence = str(said.value)
    assert sentence.startswith(f"{path} is no sound MLflow database ({why}")
    assert "move it away" in sentence
    assert "logger.tracking_uri=" in sentence
    assert "\n" not in sentence
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table notes (text)")
    with pytest.raises(BadInput, match="tables are missing"):
        prepare(path)


def test_a_database_that_is_being_written_to_is_not_cut_short(tmp_path, sound):
    """While its log is merged, the first page may tell of pages that are not there yet."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(sound[:-4096])
    assert fault(path) == "cut short"
    path.with_name("mlflow.db-wal").touch()
    assert fault(path) != "cut short"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file/below", Path("/proc/nowhere")):
        with pytest.raises(BadInput, match=r"cannot be written .*; choose another output"):
            prepare(place / "mlflow.db")


@pytest.mark.parametrize(
    "name", ["with space", "h#sh", "50%", "ünï", "a&b=c;d", "$HOME", "what?", "a%20b", "%3F?"]
)
def test_a_folder_of_most_names_can_hold_it(tmp_path, sound, name):
    path = tmp_path / name / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(sound)
    prepare(path)
    client_of(path).create_experiment("here")
    with closing(sqlite3.connect(path)) as connection:
        assert ("here",) in set(connection.execute("select name from experiments"))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_name_that_an_address_cannot_hold_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(BadInput, match="cannot be a database's address"):
        prepare(tmp_path / "a?\udcff" / "mlflow.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["/x/mlflow.db", "/what?/a%20b/mlflow.db", "/50%/mlflow.db"])
def test_an_address_leads_back_to_the_setting(name):
    assert file_of(setting_of(address(Path(name)))) == Path(name)
    assert setting_of("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


def test_home_is_spelled_out_and_a_server_is_no_file():
    assert file_of("sqlite:///~/x/mlflow.db") == Path.home() / "x/mlflow.db"
    assert file_of("sqlite:////x/mlflow.db") == Path("/x/mlflow.db")
    assert file_of("http://127.0.0.1:5000") is None


def test_whoever_waits_for_it_is_told_what_for(tmp_path, sound):
    path = tmp_path / "mlflow.db"
    path.write_bytes(sound)
    with Lock(path, ""):
        child = Child(lambda: (logging.basicConfig(level="INFO", force=True), prepare(path)))
        until(lambda: "waiting for" in child.said()[1])
    ended = child.ended()
    assert ended.returncode == 0
    assert f"waiting for the database {path}, which process {os.getpid()}" in ended.stderr
