"""The unlearned net as a model of MLflow: it loads elsewhere and answers as the net does."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sweeps import sweep
from torch import nn
from tracked import cells, client_of

from antidote.engine.mlflow import Mlflow
from antidote.engine.packed import pack, requirements
from antidote.model.resnet9 import ResNet9

HERE = Path(__file__).parent
LOAD = """
import sys
import mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
net = mlflow.pytorch.load_model(f"runs:/{sys.argv[2]}/unlearned")
with torch.no_grad():
    torch.save((net.training, net(torch.load(sys.argv[3]))), sys.argv[4])
"""


@pytest.fixture(scope="module")
def left(launch, tmp_path_factory):
    place = tmp_path_factory.mktemp("model")
    quick = ["poison.rate=0.1", "discovery=50pct", "unlearning=finetune", "pictures=false"]
    return launch(place, "logger=mlflow", *quick)


def net_of(path):
    """As a run leaves it in a safetensors file."""
    weights = load_file(path)
    net = ResNet9(10, weights["normalize.mean"], weights["normalize.std"], width=0.125)
    net.load_state_dict(weights)
    return net.eval().to(memory_format=torch.channels_last)  # as the run computes with it


def test_the_unlearned_net_loads_in_another_process_and_answers_the_same(left, tmp_path):
    x = torch.rand(64, 1, 12, 12)
    torch.save(x, tmp_path / "x.pt")
    where = [left["mlflow"]["uri"], left["mlflow"]["run_id"], tmp_path / "x.pt", tmp_path / "y.pt"]
    command = [sys.executable, "-c", LOAD, *map(str, where)]
    alike = os.environ | {"OMP_NUM_THREADS": "1"}  # bits depend on threads
    subprocess.run(command, cwd=tmp_path, env=alike, check=True, capture_output=True)
    training, told = torch.load(tmp_path / "y.pt")
    nets = [net_of(left.folder / f"{name}.safetensors") for name in ("unlearned", "victim")]
    with torch.no_grad():
        unlearned, victim = (net(x) for net in nets)
    assert not training
    assert torch.equal(told, unlearned)
    assert not torch.allclose(told, victim)


def test_it_is_listed_as_a_model_of_its_run(left):
    client = client_of(left.folder.parent / "output")
    (run,) = cells(left.folder.parent / "output")
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.name, model.source_run_id) == ("unlearned", run.info.run_id)
    assert str(model.status).endswith("READY")
    assert [o.model_id for o in run.outputs.model_outputs] == [model.model_id]


def test_without_models_there_is_none(launch, tmp_path):
    launch(tmp_path, "logger=mlflow", "unlearning=none", "save_models=false", "pictures=false")
    client = client_of(tmp_path / "output")
    assert client.search_logged_models(["1"]) == []


def test_a_run_that_is_sent_later_brings_its_model(small, tmp_path, monkeypatch):
    before = sweep(tmp_path, *small, "save_models=true")
    monkeypatch.setattr("antidote.engine.stages.fit", lambda *_: pytest.fail("computed again"))
    sent = sweep(tmp_path, *small, "save_models=true", "logger=mlflow")
    assert sent.status == 0
    (model,) = client_of(sent.output).search_logged_models(["1"])
    packed = Path(model.artifact_location.removeprefix("file://")) / "data/model.pth"
    net = torch.load(packed, weights_only=False)
    kept = load_file(before.folder / "0/unlearned.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in net.state_dict().items())


def test_what_it_needs_is_named_without_asking_anyone(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mlflow.models.infer_pip_requirements", lambda *_, **__: pytest.fail("asked")
    )
    net = ResNet9(3, torch.tensor([0.5]), torch.tensor([0.2]), width=0.125)
    packed = pack(net, tmp_path)
    needed = (packed / "requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in needed] == ["mlflow", "torch"]
    size = sum(path.stat().st_size for path in packed.rglob("*") if path.is_file())
    weights = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    assert weights < size < weights + 50_000


def test_a_net_of_timm_needs_timm():
    from antidote.model.timm_net import TimmNet

    grey = torch.tensor([0.5]), torch.tensor([0.2])
    net = TimmNet(3, *grey, "resnet10t", pretrained=False, image_size=None, options={})
    assert [line.partition("==")[0] for line in requirements(net)] == ["timm", "torch"]


def test_packing_leaves_the_net_as_it_is(tmp_path):
    net = ResNet9(3, torch.tensor([0.5]), torch.tensor([0.2]), width=0.125).train()
    pack(net, tmp_path)
    assert net.training


class Odd(nn.Module):
    """No pickle takes it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.lock = threading.Lock()


def test_a_net_that_cannot_be_pickled_costs_a_sentence_and_nothing_else(tmp_path, caplog):
    tracker = Mlflow(f"sqlite:///{tmp_path}/mlflow.db", "antidote", f"{tmp_path}/artifacts")
    tracker.start("one", {}, {})
    record = {"steps": [], "classes": [], "seconds": {"unlearn": 1.0}, "healed": 0.5}
    with caplog.at_level(logging.WARNING, "antidote"):
        tracker.finish(record, [], "", Odd())
    (said,) = [r.getMessage() for r in caplog.records if r.name.startswith("antidote")]
    assert said.startswith("MLflow does not hold the net as a model: ")
    run = tracker.client.get_run(tracker.run_id)
    assert (run.info.status, run.data.metrics["healed"]) == ("FINISHED", 0.5)
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == []
