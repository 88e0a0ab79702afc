"""What a run and a sweep print, and that printing decides nothing."""

import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_records import record, traced, untraced

from antidote.report.run.terminal import show_result, show_sweep
from antidote.report.terminal import quietly, tell

HERE = Path(__file__).parent
PRINTS = """
import sys
sys.path.insert(0, sys.argv[1])
from made_records import record
from antidote.report.run.terminal import show_result, show_sweep
for _ in range(50):
    show_result(record("a"))
    show_sweep([row := {**record("a"), "job": "0", "overrides": []}], "folder")
print("said after it" * 10000)
sys.stderr.write("reached the end")
"""
MLFLOW = {"experiment": "e", "run_id": "r", "address": "#/experiments/1/runs/r"}


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def job(name: str, *overrides: str, **about) -> dict:
    told = {"status": "ok", "error": None, "done_before": False} | about
    return {"job": name, "overrides": list(overrides), **told}


def lines(capsys) -> list[list[str]]:
    """What was printed, as words without a table's rules."""
    said = capsys.readouterr().out
    return [line.replace("│", " ").split() for line in said.splitlines()]


def test_a_runs_table_has_before_and_after_in_percent(capsys):
    show_result(record("a"))
    said = lines(capsys)
    assert ["clean", "accuracy", "90.00", "%", "89.00", "%"] in said
    assert ["attacked", "accuracy", "10.00", "%", "82.00", "%"] in said
    assert ["attack", "success", "100.00", "%", "10.00", "%"] in said
    assert ["poison", "healed", "90.00", "%"] in said
    assert ["healed", "in", "training", "80.00", "%"] in said
    assert ["PTN", "tries", "7"] in said
    assert ["seconds:", "fit", "(from", "cache)", "50.0"] in said
    assert ["run", "folder", "/runs/a"] in said


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_has_no_meaning_is_a_dash(capsys, nothing):
    show_result(record("a", healed=nothing))
    show_sweep([job("0", healed=nothing, accuracy_drop=0.01)], "folder")
    said = lines(capsys)
    assert ["poison", "healed", "-"] in said
    assert ["seconds:", "evaluate", "-"] in said
    assert ["0", "ok", "-", "-", "1.0"] in said


def test_a_run_without_an_attack_shows_what_it_has(capsys):
    clean = record("a", healed=None, search=None)
    for name in list(clean):
        if name.startswith(("attack", "harmed", "healed_")):
            del clean[name]
    show_result(clean)
    said = lines(capsys)
    assert not [line for line in said if "attack" in line or "PTN" in line]
    assert ["clean", "accuracy", "90.00", "%", "89.00", "%"] in said


def test_a_run_with_a_tracer_says_what_it_found(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    show_result(traced("a", "features", rows=199, n_known=1))
    said = capsys.readouterr().out
    assert "badnets: 600 poisoned, 1 known, 199 traced by features" in said
    told = [line.replace("│", " ").split() for line in said.splitlines()]
    assert ["tracing,", "recall", "90.00", "%"] in told
    assert ["tracing,", "precision", "95.00", "%"] in told
    assert ["recovered", "97.00", "%"] in told
    assert ["attack", "success,", "never", "poisoned", "2.00", "%"] in told
    assert ["seconds:", "trace", "3.0"] in told


def test_a_tracer_that_found_nothing_says_so(capsys):
    show_result(traced("a", "features", rows=0))
    said = capsys.readouterr().out
    assert "60 known, features traced nothing" in said
    assert re.search(r"tracing, precision +│ +│ +- ", said)


def test_a_run_without_a_tracer_says_nothing_of_tracing(capsys):
    show_result(untraced("a"))
    said = capsys.readouterr().out
    assert "trac" not in said
    assert "recovered" not in said


def test_a_sweeps_table_tells_of_tracing_where_anything_traced(capsys):
    some = [job("0", **traced("a", "fall")), job("1", **untraced("b")), job("2", **record("c"))]
    for i, row in enumerate(some):
        row |= {"job": str(i), "overrides": []}
    show_sweep(some, "folder")
    said = lines(capsys)
    heads = ["clean", "attack", "healed", "lost"]
    assert ["job", "status", *heads, "recall", "prec."] in said
    assert ["0", "ok", "89.0", "10.0", "90.0", "1.0", "90.0", "95.0"] in said
    assert ["1", "ok", "89.0", "10.0", "90.0", "1.0", "-", "-"] in said
    show_sweep(some[1:], "folder")
    assert ["job", "status", *heads] in lines(capsys)


def test_a_run_says_where_mlflow_has_it(capsys):
    show_result(record("a", mlflow=MLFLOW | {"uri": "sqlite:////x/mlflow.db"}))
    show_result(record("a", mlflow=MLFLOW | {"uri": "http://there:5000/"}))
    said = capsys.readouterr().out
    served = "`python -m mlflow ui --backend-store-uri sqlite:////x/mlflow.db`"
    assert f"MLflow      {served}, then http://127.0.0.1:5000/#/experiments/1/runs/r" in said
    assert "http://there:5000/#/experiments/1/runs/r" in said


def test_a_search_that_gave_up_says_so(capsys):
    show_result(record("a", search={"tries": 7, "met": False}))
    assert "PTN tries (target not met)" in capsys.readouterr().out


def test_a_sweeps_table_has_a_line_per_job_with_what_differs(capsys):
    rows = [
        job("0", "seed=0", "x=1", **{"healed": 0.5, "clean_accuracy": 0.9, "attack_success": 0.1}),
        job("1", "seed=1", "x=1", status="failed", error="too hot"),
        job("2", "seed=2", status="killed", error=None),
        job("", "seed=3", "x=1", done_before=True),
    ]
    show_sweep(rows, "folder")
    said = lines(capsys)
    assert ["job", "seed", "x", "status", "clean", "attack", "healed", "lost"] in said
    assert ["0", "0", "1", "ok", "90.0", "10.0", "50.0", "-"] in said
    assert ["3", "1", "ok", "(before)", "-", "-", "-", "-"] in said
    assert ["job", "1", "failed:", "too", "hot"] in said
    assert not any(line[:3] == ["job", "2", "killed:"] for line in said)  # it has nothing to say
    assert ["2", "ok,", "1", "failed,", "1", "killed;", "folders", "in", "folder"] in said


FULL = {
    "tracing": "features",
    "clean_accuracy": 0.9,
    "attack_success": 0.1,
    "healed": 0.5,
    "accuracy_drop": 0.01,
    "worst_class_drop": 0.2,
    "tracing/recall": 1.0,
    "tracing/precision": 0.75,
}
WIDE = [
    job("0", "discovery=one", "tracing=activation_clustering", "unlearning=xlf_ptn_repair", **FULL),
    job("1", "discovery=10pct", "tracing=features", "unlearning=relabel_projection", **FULL),
]


def test_in_a_file_a_sweeps_table_is_not_folded(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    show_sweep(WIDE, "folder")
    said = lines(capsys)
    row = ["1", "10pct", "features", "relabel_projection", "ok", "90.0", "10.0", "50.0", "1.0"]
    assert [*row, "20.0", "100.0", "75.0"] in said
    assert "no" not in [line[0] for line in said if line]


def test_a_narrow_terminal_shows_fewer_figures_and_no_folded_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "95")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    show_sweep(WIDE, "folder")
    said = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)  # colours
    assert max(map(len, said.splitlines())) <= 95
    assert re.search(r"1 +10pct +features +relabel_projection +ok +90.0 +10.0 +50.0 +1.0", said)
    assert "no room for class lost, recall, prec.: see the report" in said


def test_a_sweeps_table_shows_numbers_as_they_were_typed(capsys):
    show_sweep([job("0", "poison_rate='0.03'"), job("1", "poison_rate=1pct")], "folder")
    said = lines(capsys)
    assert any(line[:2] == ["0", "0.03"] for line in said)
    assert ["2", "ok,", "0", "failed;", "folders", "in", "folder"] in said


@pytest.mark.parametrize("value", ["[bold],[/foo]", "[/]", ":smile:", "[link=x]y", "$0-$50", "a=b"])
def test_values_are_no_markup(capsys, value):
    rows = [job("0", f"+note={value}"), job("1", "+note=x", status="failed", error=value)]
    show_sweep(rows, value)
    show_result(record("a", dataset=value, folder=value))
    said = capsys.readouterr().out
    assert f"job 1 failed: {value}" in said
    assert f"folders in {value}" in said
    assert f"run folder  {value}" in said
    assert re.search(rf"\b0 +{re.escape(value)} +ok", said)
    assert f"{value}, badnets: 600 poisoned" in said


def test_an_override_that_takes_something_away_is_told(capsys):
    show_sweep([job("0", "~trainer.x"), job("1", "+y=1")], "folder")
    assert "~trainer.x" in capsys.readouterr().out


def test_a_long_value_does_not_fill_the_table(capsys):
    many = ",".join(map(str, range(1400)))
    show_sweep([job("0", f"ids=[{many},7]"), job("1", f"ids=[{many},8]")], "folder")
    assert max(map(len, capsys.readouterr().out.splitlines())) < 150


def test_names_of_any_bytes_can_be_printed(capsys):
    show_result(record("a", folder="/runs/\udcff"))
    assert "run folder  /runs/?" in capsys.readouterr().out


def printed_to(out, **how) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PRINTS, str(HERE)]
    return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, **how)


def test_a_reader_that_goes_away_changes_no_status():
    reading, writing = os.pipe()
    os.close(reading)
    done = printed_to(writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "reached the end")


def test_a_reader_that_goes_after_the_first_line_changes_no_status():
    command = f'"{sys.executable}" -c "$PRINTS" "{HERE}" | head -1; exit ${{PIPESTATUS[0]}}'
    environment = os.environ | {"PRINTS": PRINTS}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "reached the end")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_below_standard_output_changes_no_status():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = printed_to(full)
    assert (done.returncode, done.stderr) == (0, "reached the end")


def test_standard_output_that_is_closed_from_the_start_changes_no_status():
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "$PRINTS" "{HERE}" >&-'],
        env=os.environ | {"PRINTS": PRINTS},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "reached the end")


def test_an_encoding_without_the_letters_gets_others(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    tell("drop ↓ of ½")
    assert raw.getvalue() == b"drop ? of ?\n"


def test_a_stream_closed_in_between_is_replaced_by_nowhere(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    tell("lost")
    tell("lost as well")
    assert sys.stdout is not closed


def test_other_errors_are_not_hidden():
    with pytest.raises(KeyError), quietly():
        raise KeyError("ours")
    with pytest.raises(KeyError):
        show_sweep([{"job": "0"}], "folder")
