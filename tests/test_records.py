"""Records of cells: what is trusted, and what counts as not done."""

import json
import logging
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antidote.engine.records import Records, seal

RESULT = {"id": "a", "status": "ok", "error": None, "healed": 0.5, "steps": [{"loss": 0.25}]}
FAILED = {"id": "a", "status": "failed", "error": "no"}


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path)


def test_a_record_is_read_as_it_was_written(records):
    records.write(RESULT)
    assert records.read("a") == RESULT
    assert list(records) == [RESULT]
    assert records.state("a") == "done"


def test_what_was_never_run_is_missing(records):
    assert records.read("a") is None
    assert records.state("a") == "missing"
    assert list(records) == []


ODD = {
    "a changed digit": lambda text: text.replace("0.5", "0.6"),
    "another name": lambda text: text.replace('"a"', '"b"'),
    "a line more": lambda text: text.replace('"status"', '"x": 1, "status"'),
    "no seal": lambda text: json.dumps(RESULT),
    "an empty object": lambda text: "{}",
    "a list": lambda text: "[]",
    "null": lambda text: "null",
    "half of it": lambda text: text[: len(text) // 2],
    "nothing": lambda text: "",
    "no text at all": lambda text: "\x00\x01",
}


@pytest.mark.parametrize("how", ODD.values(), ids=ODD)
def test_a_record_that_is_odd_counts_as_not_done_with_a_warning(records, how, caplog):
    records.write(RESULT)
    path = records.path("a")
    path.write_text(how(path.read_text()))
    with caplog.at_level(logging.WARNING):
        assert records.read("a") is None
        assert list(records) == []
    assert records.state("a") == "missing"
    assert "is damaged" in caplog.text
    records.write(RESULT)  # and it can be done again
    assert records.state("a") == "done"


def test_two_records_that_were_swapped_are_noticed(records):
    records.write(RESULT)
    records.write(RESULT | {"id": "b", "healed": 0.9})
    a, b = records.path("a"), records.path("b")
    text = a.read_text()
    a.write_text(b.read_text())
    b.write_text(text)
    assert records.read("a") is records.read("b") is None


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.text()))
def test_the_seal_of_a_record_survives_json(record):
    assert seal(json.loads(json.dumps(record))) == seal(record)


def test_a_record_holds_nothing_that_json_does_not_know(records):
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write(RESULT | {"healed": float("nan")})
    assert not list(records.folder.glob("*"))


def test_a_failure_takes_no_results_place_but_a_result_takes_a_failures(records):
    records.write(FAILED)
    assert records.state("a") == "failed"
    records.write(RESULT)
    records.write(FAILED)
    assert records.read("a") == RESULT


def test_a_cell_that_is_being_run_is_told_from_one_whose_process_died(records):
    with records.lock("a"):
        records.mark("a", mlflow="run")
        assert records.state("a") == "running"
        assert dict(records.marks())["a"]["mlflow"] == "run"
        assert dict(records.marks())["a"]["pid"] == os.getpid()
    assert records.state("a") == "killed"
    records.unmark("a")
    assert records.state("a") == "missing"


def test_a_killed_process_frees_its_lock(records, tmp_path):
    code = f"""
import os
from antidote.engine.records import Records
records = Records({str(tmp_path)!r})
records.lock("a").acquire()
records.mark("a")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert records.state("a") == "killed"
    with records.lock("a"):
        pass
