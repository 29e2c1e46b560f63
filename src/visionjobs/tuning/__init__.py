"""Sweeps by Ray Tune.

search.py       which parameters the next trial has: a pure function of the sweep's seed and its earlier trials
draw.py         values from a search space, at random or all of them
tpe.py          Optuna's estimator, asked for a trial
asha.py         which trials are stopped early, by epochs
concurrency.py  how many trials at once, and what each of them gets
trial.py        a trial in a process of Ray's: an attempt of an ordinary run
suggest.py      Tune's way to ask for the next trial
tune_run.py     Tune at work in a thread, and whoever watches it
lost.py         why a trial lost its process
board.py        what is known of all trials, kept as they report
place.py        where a sweep runs: which Ray, and what `auto` means there
mirrors.py      the trials in wandb
watch.py        what is told to the person who waits
finisher.py     what follows a trial's training, while the next ones train
driver.py       an attempt of a sweep, from the claim to the report
best_job.py     the best configuration as a job file
load.py         a sweep's folder -> what its report is made of
ending.py       what a sweep ends with: results.json, the best job file, the report
"""
