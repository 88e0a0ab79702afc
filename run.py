"""antidote's command line in a checkout; installed it is called `antidote`, and does the same.

Call `python run.py`, `python run.py -m seed=0,1 unlearning=retrain,xlf_ptn` or
`python run.py --help`.
"""

from antidote.door.shell import job, ready

# `job` is an @hydra.main, which is what tab completion looks for in this file
if __name__ == "__main__":
    ready()
    job()
