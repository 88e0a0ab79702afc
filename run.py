"""antidote's command line.

Call `python run.py`, `python run.py -m seed=0,1 unlearning=retrain,xlf_ptn` or
`python run.py --help`.
"""

import logging
import os
import sys

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from hydra_plugins.antidote_plugins import at_home, quoted, readable

for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(name, "true")
# a server that went away costs seconds, not minutes: the record on disk is the truth
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
# idle threads sleep: parallel jobs on few cores do not starve
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    (task,) = instantiate(cfg.task).values()  # imports torch only now: --help stays quick
    return task(cfg)


# what cannot be printed, as after `| head -1`, is no trouble of the run's
logging.raiseExceptions = False

if __name__ == "__main__":
    sys.argv[1:] = [readable(quoted(at_home(argument))) for argument in sys.argv[1:]]
    main()
