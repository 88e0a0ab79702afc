"""A sweep does what is missing, failed or not all there, and skips what is done, whoever did it."""

import json

import pytest
import tracked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweeps import PLAIN, set_up, sweep

from antidote.engine import left, source
from antidote.engine.records import Records, seal
from antidote.engine.store import Store
from antidote.sweeps.grid import cells


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def first(small, place):
    """One job that works, one that cannot."""
    return sweep(place, *small, "poison.target_class=0,99")


@pytest.fixture(scope="module")
def second(small, place, first):
    """The same and a new one."""
    return sweep(place, *small, "poison.target_class=0,99,1")


@pytest.fixture(scope="module")
def again(small, place, second):
    return sweep(place, *small, "poison.target_class=0", "resume=false")


@pytest.fixture
def done(small, tmp_path):
    """A sweep of two cells."""
    return sweep(tmp_path, *small, "seed=0,1")


def test_a_job_has_the_identity_that_was_worked_out_beforehand(first, small, place):
    where = [f"output={place}/output", f"data_folder={place}/data"]
    with set_up(*small, *PLAIN, *where, "poison.target_class=0,99"):
        found = cells()
    for job, cell in enumerate(found):
        data = source.known(cell, Store(place / "output/store"))
        result = first.result(job)
        assert (result["config_hash"], result["id"]) == (cell.config_hash, cell.id(data))


def test_a_done_cell_is_skipped_without_a_job_folder(first, second):
    assert second.started() == ["0", "1"]  # the failed one and the new one
    assert "3 jobs: 1 done before, 2 to do" in second.log
    assert "2 jobs: 0 done before, 2 to do" in first.log


def test_failed_and_missing_cells_are_run(second):
    assert [second.result(job)["status"] for job in "01"] == ["failed", "ok"]


def test_the_table_tells_what_was_done_before(second):
    assert ["0", "ok", "(before)"] in [row[:3] for row in second.table()]
    assert ["1", "1", "ok"] in [row[:3] for row in second.table()]
    assert "2 ok, 1 failed" in second.out
    assert second.status == 1


def test_a_sweep_of_done_cells_starts_nothing(small, place, second):
    skipped = sweep(place, *small, "poison.target_class=0,1")
    assert (skipped.started(), skipped.status) == ([], 0)
    assert not (skipped.folder / "report").exists()


def test_resume_false_runs_a_done_cell_again(again, second):
    result, before = again.result(0), second.records
    assert again.started() == ["0"]
    assert result["began"] >= before[result["id"]]["began"]
    assert result["folder"] == str(again.folder / "0")
    assert result["after"] == before[result["id"]]["after"]


def test_resume_false_that_fails_leaves_the_result_and_says_why(done, small, monkeypatch):
    def broken(*_):
        raise OSError("the disk is on fire")

    monkeypatch.setattr("antidote.task.route.leave", broken)
    twice = sweep(done.folder.parent, *small, "seed=0,1", "resume=false", folder=done.folder)
    assert twice.status == 1
    assert "job 1 failed: OSError: the disk is on fire" in twice.out
    assert {r["status"] for r in twice.records.values()} == {"ok"}
    assert twice.records == done.records


def test_a_cell_that_one_sweep_did_is_skipped_by_a_wider_one(done, small):
    wider = sweep(done.folder.parent, *small, "seed=0,1,2", "unlearning=none,finetune")
    ran = [(r["unlearning"], r["seed"]) for r in map(wider.result, wider.started())]
    assert sorted(ran) == [("finetune", 0), ("finetune", 1), ("finetune", 2), ("none", 2)]
    assert "6 jobs: 2 done before, 4 to do" in wider.log


# what is asked for and not there is made
def test_models_that_are_asked_for_later_are_made(done, small):
    more = sweep(done.folder.parent, *small, "seed=0,1", "save_models=true")
    assert more.started() == ["0", "1"]
    assert (more.folder / "0/unlearned.safetensors").exists()
    assert sweep(done.folder.parent, *small, "seed=0,1", "save_models=true").started() == []


def test_pictures_that_are_asked_for_later_are_made(done, small):
    more = sweep(done.folder.parent, *small, "seed=0", "pictures=true")
    assert {p.name for p in (more.folder / "0").glob("*.png")} >= {"samples.png", "per_class.png"}
    assert sweep(done.folder.parent, *small, "seed=0", "pictures=true").started() == []


def test_mlflow_that_is_asked_for_later_is_sent_the_record_and_nothing_is_computed(
    done, small, monkeypatch
):
    def computes(*_, **__):
        raise AssertionError("computed again")

    for work in ("fit", "measure"):
        monkeypatch.setattr(f"antidote.engine.stages.{work}", computes)
    more = sweep(done.folder.parent, *small, "seed=0,1", "logger=mlflow")
    assert more.status == 0
    sent = {run.data.tags["cell"]: run for run in tracked.cells(more.output)}
    assert sent.keys() == done.records.keys()
    for id, record in done.records.items():
        assert sent[id].info.status == "FINISHED"
        assert sent[id].data.metrics["clean_accuracy"] == pytest.approx(record["clean_accuracy"])
        assert more.records[id]["mlflow"]["run_id"] == sent[id].info.run_id
        assert more.records[id]["ended"] == record["ended"]
    assert sweep(done.folder.parent, *small, "seed=0,1", "logger=mlflow").started() == []


def test_a_run_that_was_killed_when_on_record_but_not_in_mlflow_is_sent_there(
    small, tmp_path, monkeypatch
):
    """Its mark is left, and MLflow has it as RUNNING."""
    monkeypatch.setattr("antidote.engine.mlflow.Mlflow.finish", lambda *_: None)
    monkeypatch.setattr(Records, "unmark", lambda *_: None)
    cut = sweep(tmp_path, *small, "logger=mlflow")
    monkeypatch.undo()
    assert [run.info.status for run in tracked.cells(cut.output)] == ["RUNNING"]
    sweep(tmp_path, *small, "logger=mlflow")
    assert sorted(run.info.status for run in tracked.cells(cut.output)) == ["FINISHED", "KILLED"]
    assert sweep(tmp_path, *small, "logger=mlflow").started() == []


def test_a_run_that_was_stopped_when_on_record_but_not_in_mlflow_is_sent_there(
    small, tmp_path, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("antidote.engine.mlflow.Mlflow.finish", stop)
    stopped = sweep(tmp_path, *small, "logger=mlflow")
    monkeypatch.undo()
    assert stopped.status == 130
    sweep(tmp_path, *small, "logger=mlflow")
    assert sorted(run.info.status for run in tracked.cells(stopped.output)) == [
        "FINISHED",
        "KILLED",
    ]


# records that cannot be trusted
def edited(path):
    path.write_text(path.read_text().replace('"clean_accuracy": 0.', '"clean_accuracy": 0.9', 1))


def emptied(path):
    path.write_text("{}")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:1000])


def resealed_under_another_name(path):
    record = json.loads(path.read_text()) | {"id": "another"}
    del record["seal"]
    path.write_text(json.dumps(record | {"seal": seal(record)}))


ODD = [edited, emptied, cut_short, resealed_under_another_name]


@pytest.mark.parametrize("damage", ODD, ids=lambda damage: damage.__name__)
def test_a_cell_whose_record_is_odd_is_run_again_with_a_warning(small, place, second, damage):
    (id,) = [i for i, r in second.records.items() if r["settings"]["poison"]["target_class"] == 1]
    before, path = second.records[id], Records(second.output).path(id)
    damage(path)
    assert id not in second.records
    mended = sweep(place, *small, "poison.target_class=0,1")
    assert mended.started() == ["0"]
    assert f"{path} is damaged" in mended.log
    assert mended.records[id]["after"] == before["after"]


def test_two_records_that_were_swapped_are_both_run_again(done, small):
    one, other = (Records(done.output).path(id) for id in done.records)
    texts = one.read_text(), other.read_text()
    other.write_text(texts[0])
    one.write_text(texts[1])
    mended = sweep(done.folder.parent, *small, "seed=0,1")
    assert mended.started() == ["0", "1"]
    assert mended.log.count("is damaged") >= 2
    assert {i: r["after"] for i, r in mended.records.items()} == {
        json.loads(text)["id"]: json.loads(text)["after"] for text in texts
    }


def test_one_odd_record_does_not_keep_the_other_cells_from_being_skipped(done, small):
    (Records(done.output).folder / "0123.json").write_text("{}")
    assert sweep(done.folder.parent, *small, "seed=0,1").started() == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_a_record_can_be_changed_unnoticed(second, tmp_path, data):
    id, record = next(iter(second.records.items()))
    records = Records(tmp_path)
    records.write(record)
    raw = records.path(id).read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255))
    records.path(id).write_bytes(raw[:at] + bytes([byte]) + raw[at + 1 :])
    assert records.read(id) in (None, record)


def test_a_plan_of_the_sweep_says_what_is_left_and_runs_nothing(again, cli, small, place):
    folder = place / "planned"
    where = [f"output={place}/output", f"data_folder={place}/data", f"hydra.sweep.dir={folder}"]
    done = cli("-m", "task=plan", *small, *PLAIN, *where, "poison.target_class=0,1,2,99")
    assert done.returncode == 0, done.stderr
    assert "4 jobs are 4 different cells: 2 done, 1 failed, 1 missing" in done.stdout
    assert not folder.exists()


def test_what_is_left_in_a_folder_decides_whether_a_cell_lacks_it(tmp_path):
    record = {"folder": str(tmp_path), "id": "a"}
    (tmp_path / "result.json").write_text('{"id": "a"}')
    asked = {"save_models": True, "pictures": True}
    assert left.lacks(record, asked)
    for name in ("victim.safetensors", "unlearned.safetensors", "samples.npz"):
        (tmp_path / name).touch()
    assert not left.lacks(record, asked)
    assert left.lacks(record | {"id": "b"}, asked)  # by now the folder is another run's
