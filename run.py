"""antidote's command line.

Call `python run.py`, `python run.py -m seed=0,1 unlearning=retrain,xlf_ptn` or
`python run.py --help`.
"""

import os

import hydra
from omegaconf import DictConfig

for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(name, "true")
os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # idle threads sleep: parallel jobs on few cores do not starve


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    from antidote.pipeline import main  # imports torch, so that --help and --cfg stay quick

    return main(cfg)


if __name__ == "__main__":
    main()
