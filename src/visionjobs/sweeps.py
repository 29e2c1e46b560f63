"""A sweep's identity and folder: its job, its trials, and how they ended.

    <storage>/sweeps/<sweep id>/
      spec.yaml, dataset.json    the job with its sweep section, as resolved; written once
      record.json                who ran it where, with which outcome
      attempts/0001/             claim.json, progress.json: of the sweep's own driver
      trials/0003.json           {"number", "run", "parameters", "created"}: written once, before its run is made
      trials/0003.stopped.json   {"epoch", "value", "cutoff", "decided"}: the scheduler's decision, written once
      runs/<sweep id>-t003/      the trial: an ordinary run (runs.py)
      results.json, best/<job>_best.yaml, report/        what it ends with (tuning/ending.py)

All that a continued sweep needs is here, as JSON: nothing of it depends on Ray Tune's own files, which lag behind by
seconds and are pickles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from visionjobs.errors import ObjectExistsError, UserError, nearest
from visionjobs.jobfile import dump_spec
from visionjobs.runs import TRIAL_ID, Attempt, Run, create_run, new_run_id, now, read_json, request_stop, run_folder
from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import NO_SECTION, with_parameters
from visionjobs.spec_sweep import Sweep as SweepSection
from visionjobs.storage import Store

SWEEP_ID = re.compile(r"^sweep-[a-z0-9-]{1,41}$")

STOPPED_EARLY = "its sweep stopped it early"
"""How the reason begins for which an early-stopped trial's run ended."""


def new_sweep_id(job: str) -> str:
    """`sweep-<job>-<date>-<time>-<4 hex>`: at most 47 characters, as KubeRay demands of a RayJob; a long job's name is
    cut off."""
    return new_run_id(f"sweep-{job[:20].rstrip('_')}")


@dataclass(frozen=True)
class Trial:
    """One trial. run: its id; parameters: key of the job -> value, of all searched keys."""

    number: int
    run: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Stopped:
    """The scheduler's decision to end a trial early. epoch: how many it had then; value: of the metric there, if it had
    one; cutoff: what it would have had to reach."""

    epoch: int
    value: float | None
    cutoff: float | None


@dataclass(frozen=True)
class Sweep:
    """One sweep. folder: as of a run, with claims, attempts and a record of its own; root: the storage's."""

    folder: Run
    root: Store

    @property
    def id(self) -> str:
        """Its id."""
        return self.folder.id

    @property
    def store(self) -> Store:
        """Its folder."""
        return self.folder.store

    def spec(self) -> JobSpec:
        """The stored job, with what was changed when the sweep was continued."""
        return self.folder.spec_now()

    def trials(self) -> list[Trial]:
        """All trials that were made, by number. Raises UserError (damaged)."""
        names = [entry.key for entry in self.store.entries("trials") if re.search(r"/\d+\.json$", entry.key)]
        with ThreadPoolExecutor(16) as pool:  # each is a question to the storage
            found = pool.map(lambda name: read_json(self.store, name), names)
            trials = [Trial(entry["number"], entry["run"], entry["parameters"]) for entry in found if entry is not None]
        return sorted(trials, key=lambda trial: trial.number)

    def run_of(self, trial: Trial) -> Run:
        """The trial's run, whether it was made or not."""
        return Run(trial.run, run_folder(self.root, trial.run))

    def add_trial(self, number: int, parameters: Mapping[str, Any]) -> Trial:
        """Note a new trial. Raises ObjectExistsError where another driver has made it."""
        trial = Trial(number, f"{self.id}-t{number:03}", dict(parameters))
        entry = {"number": number, "run": trial.run, "parameters": trial.parameters, "created": now()}
        self.store.write(f"trials/{number:04}.json", json.dumps(entry, indent=1), if_absent=True)
        return trial

    def make_run(self, trial: Trial, spec: JobSpec, dataset: str) -> Run:
        """The trial's run, which is made if it is not there. spec: pinned; dataset: manifest, JSON."""
        try:
            return create_run(self.root, spec, dataset, trial.run)
        except ObjectExistsError:
            return self.run_of(trial)

    def stop_early(self, trial: Trial, stopped: Stopped) -> None:
        """Store the scheduler's decision, and tell the trial's run."""
        entry = {"epoch": stopped.epoch, "value": stopped.value, "cutoff": stopped.cutoff, "decided": now()}
        self.store.write(f"trials/{trial.number:04}.stopped.json", json.dumps(entry, indent=1))
        request_stop(self.run_of(trial).store, early_reason(stopped))

    def fail(self, trial: Trial, message: str, info: Mapping[str, Any]) -> None:
        """Record that the trial failed for good, also where it could not even begin: info is of the claim then."""
        run, spec = self.run_of(trial), self.spec()
        record = run.record()
        if record.get("state") == "failed":
            return
        claims = run.claims()
        holder = Attempt(run, claims[-1].number) if claims else run.claim("attempt", info)
        about = {"schema": 1, "run": run.id, "job": spec.name, "task": spec.task, "epochs": spec.train.epochs}
        holder.update_record(state="failed", message=message, **({} if record else about | {"created": now()}))

    def stopped(self, trial: Trial) -> Stopped | None:
        """The scheduler's decision to end the trial, None where there is none."""
        entry = read_json(self.store, f"trials/{trial.number:04}.stopped.json")
        return None if entry is None else Stopped(entry["epoch"], entry["value"], entry["cutoff"])


def early_reason(stopped: Stopped) -> str:
    """Why the run of a trial that was stopped early ended."""
    return f"{STOPPED_EARLY} after epoch {stopped.epoch}"


def section_of(spec: JobSpec) -> SweepSection:
    """The sweep section. Raises UserError where the job has none."""
    if spec.sweep is None:
        raise UserError(f"{spec.name} {NO_SECTION}")
    return spec.sweep


def create_sweep(root: Store, spec: JobSpec, dataset: str, sweep_id: str | None = None) -> Sweep:
    """A new sweep. spec: pinned, with its sweep section; dataset: the manifest of its dataset (JSON).

    Raises ObjectExistsError where there is a sweep of that id.
    """
    section_of(spec)
    sweep_id = sweep_id or new_sweep_id(spec.name)
    sweep = sweep_at(root, sweep_id)
    if sweep.store.exists("spec.yaml"):
        raise ObjectExistsError(f"{sweep.store.address}/spec.yaml: is there already")
    sweep.store.write("dataset.json", dataset)
    sweep.store.write("spec.yaml", dump_spec(spec), if_absent=True)
    return sweep


def sweep_at(root: Store, sweep_id: str) -> Sweep:
    """The sweep of this id, whether it is there or not."""
    return Sweep(Run(sweep_id, root.at("sweeps", sweep_id)), root)


def names_sweep(name: str) -> bool:
    """Whether this is the id of a sweep, rather than of a run or a trial."""
    return SWEEP_ID.match(name) is not None and TRIAL_ID.match(name) is None


def folder_of(root: Store, name: str) -> Run:
    """The folder of the run, trial or sweep of this id, whether it is there or not."""
    return sweep_at(root, name).folder if names_sweep(name) else Run(name, run_folder(root, name))


def is_sweep(root: Store, name: str) -> bool:
    """Whether there is a sweep of this id."""
    return SWEEP_ID.match(name) is not None and root.exists(f"sweeps/{name}/spec.yaml")


def open_sweep(root: Store, sweep_id: str) -> Sweep:
    """An existing sweep. Raises UserError with the nearest id."""
    if is_sweep(root, sweep_id):
        return sweep_at(root, sweep_id)
    known = sweep_ids(root)
    hint = nearest(sweep_id, known) or (" `visionjobs runs` lists them." if known else " There are no sweeps there.")
    raise UserError(f'There is no sweep "{sweep_id}" in {root.address}.{hint}')


def sweep_ids(root: Store) -> list[str]:
    """Ids of all sweeps in a storage root, sorted."""
    return [name for name in root.folders("sweeps") if is_sweep(root, name)]


def trial_spec(spec: JobSpec, parameters: Mapping[str, Any]) -> JobSpec:
    """The job of one trial: `spec` without its sweep section, with `parameters`. Raises UserError where they cannot
    stand together."""
    from visionjobs.jobfile import build_spec

    told = ", ".join(f"{key} = {value}" for key, value in parameters.items())
    return build_spec(with_parameters(spec, parameters), f"{spec.name} with {told}")


def own_parameters(spec: JobSpec, keys: Sequence[str]) -> dict[str, Any]:
    """The job's own values of the searched keys: trial 0."""
    from visionjobs.spec import flatten

    values = flatten(spec.model_dump(mode="json"))
    return {key: values[key] for key in keys}
