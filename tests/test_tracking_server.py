"""A real MLflow server: several first writers at once, and one that dies during a fit."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest
from mlflow import MlflowClient
from sweeps import sweep
from test_tracking import first_use_of, six_at_once

from antidote.engine.server import silent
from antidote.model.classifier import Classifier

pytestmark = pytest.mark.slow  # a server takes ten seconds to come up
FEW = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


@pytest.fixture
def server(tmp_path):
    """(address, process) of a fresh one."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    artifacts = ["--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "server.log").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *where, *artifacts],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
            stdout=said,
            stderr=said,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            if not silent(address):
                break
            time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "server.log").read_text())
        yield address, process
    finally:
        ended(process)


def ended(process):
    """With all its workers."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """As run.py has it."""
    for name, value in FEW.items():
        monkeypatch.setenv(name, value)


def test_six_first_writers_on_a_fresh_server_lose_nothing(server):
    address, _ = server
    assert six_at_once(first_use_of, address) == [0] * 6
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("antidote")
    found = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in found) == list("012345")
    assert {run.info.status for run in found} == {"FINISHED"}


def test_a_run_arrives_at_a_server_with_its_files(server, run):
    left = run("unlearning=none", "logger=mlflow", f"logger.tracking_uri={server[0]}")
    client = MlflowClient(server[0])
    arrived = client.get_run(left["mlflow"]["run_id"])
    assert arrived.info.status == "FINISHED"
    files = {item.path for item in client.list_artifacts(arrived.info.run_id)}
    assert files >= {"result.json", "config.yaml", "victim.safetensors"}


def test_a_server_that_dies_in_the_fit_costs_a_sentence_and_no_result(
    server, run, monkeypatch, caplog
):
    address, process = server
    whole = Classifier.training_step

    def step(self, batch):
        ended(process)
        return whole(self, batch)

    monkeypatch.setattr(Classifier, "training_step", step)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "antidote"):
        left = run("unlearning=none", "logger=mlflow", f"logger.tracking_uri={address}")
    assert left["status"] == "ok"
    assert left["mlflow"] is None
    said = [r.getMessage() for r in caplog.records if r.name.startswith("antidote")]
    assert len(said) == 1
    assert "the run goes on without it, its record is complete" in said[0]
    assert time.monotonic() - began < 60


def test_a_sweep_arrives_at_a_server_with_its_report(server, small, tmp_path):
    address, _ = server
    left = sweep(tmp_path, *small, "logger=mlflow", f"logger.tracking_uri={address}", "seed=0,1")
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("antidote").experiment_id
    parent, *children = client.search_runs([experiment], order_by=["attributes.start_time"])
    assert (left.status, parent.info.status) == (0, "FINISHED")
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    files = {item.path for item in client.list_artifacts(parent.info.run_id, "report")}
    assert "report/index.html" in files


def test_a_server_that_dies_in_a_sweep_costs_sentences_and_no_result(
    server, small, tmp_path, monkeypatch
):
    address, process = server
    whole = Classifier.training_step

    def step(self, batch):
        ended(process)
        return whole(self, batch)

    monkeypatch.setattr(Classifier, "training_step", step)
    began = time.monotonic()
    left = sweep(tmp_path, *small, "logger=mlflow", f"logger.tracking_uri={address}", "seed=0,1")
    assert left.status == 0
    assert {r["status"] for r in left.records.values()} == {"ok"}
    assert {r["mlflow"] for r in left.records.values()} == {None}
    assert (left.folder / "report/index.html").exists()
    assert time.monotonic() - began < 90
    # the parent could not be ended: whoever comes next does it, once there is a server again
    assert len(list((left.output / "sweeps").glob("*.running"))) == 1
