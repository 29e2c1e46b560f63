"""A run's identity and folder: spec, record, attempts, metrics history.

    <storage>/runs/<run id>/                      a trial's: <storage>/sweeps/<sweep id>/runs/<run id>/ (sweeps.py)
      spec.yaml              as resolved; written once
      dataset.json           the manifest of its dataset; written once
      record.json            what ran where, with which outcome; rewritten by the attempt that holds the run
      attempts/0001/         claim.json, progress.json, metrics.jsonl, checkpoints/ (training/checkpoint.py), ray/
      metrics.json, weights/, predictions/, report/      written once, by the finaliser

Attempts are numbered by conditional puts of their claim, so that of two attempts started at once exactly one gets
a number. An attempt that finds a newer claim is superseded: `Attempt.write` refuses, and so nothing more is written.
Finalising is a claim too: an attempt that was superseded cannot win it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from visionjobs.errors import (
    MissingObjectError,
    ObjectExistsError,
    SupersededError,
    UserError,
    nearest,
)
from visionjobs.jobfile import build_spec, dump_spec, parse_job, with_sets
from visionjobs.spec import JobSpec
from visionjobs.storage import Store

OUTPUTS = "outputs.npz"
"""In an attempt's folder: what its workers hand to the finaliser, which deletes it (training/outputs.py)."""

OUTCOME = "outcome.json"
"""In an attempt's folder: how it ended, left for somebody else to complete the run (training/ending.py)."""

TRAINED = "trained"
"""A record's state: the attempt has left its outcome, and somebody else, a sweep's driver, completes the run."""

RUN_ID = re.compile(r"^[a-z][a-z0-9-]{0,46}$")

TRIAL_ID = re.compile(r"^(sweep-[a-z0-9-]{1,41})-t([0-9]{3,5})$")
"""A run that is a trial of a sweep: the sweep's id and the trial's number."""


def run_folder(root: Store, run_id: str) -> Store:
    """Where a run of this id lies, whether it is there or not."""
    trial = TRIAL_ID.match(run_id)
    return root.at("sweeps", trial[1], "runs", run_id) if trial else root.at("runs", run_id)


def now() -> str:
    """The time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_run_id(job: str) -> str:
    """`<job>-<date>-<time>-<4 hex>`: a DNS-1035 label of at most 47 characters, as KubeRay demands of a RayJob."""
    return f"{job.replace('_', '-')}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class Claim:
    """Who holds a number. kind: 'attempt' or 'finaliser'. info: hardware, code, workers and threads."""

    number: int
    kind: str
    started: str
    info: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run. `store` is its folder."""

    id: str
    store: Store

    def spec(self) -> JobSpec:
        """The stored spec. Raises UserError where it cannot be read."""
        try:
            text = self.store.read("spec.yaml").decode()
        except MissingObjectError as error:
            raise UserError(f"{self.store.address} holds no spec.yaml: it is not the folder of a run") from error
        return parse_job(text, f"{self.store.address}/spec.yaml", "run")

    def spec_now(self) -> JobSpec:
        """The stored spec with what was changed when the run was continued."""
        changes = self.record().get("changes") or {}
        sets = [f"{key}={json.dumps(new)}" for key, (_, new) in changes.items()]
        return build_spec(with_sets(self.spec().model_dump(mode="json"), sets), f"run {self.id}", sets)

    def dataset(self) -> dict[str, Any] | None:
        """The manifest of the dataset that the run is of, as it was when the run began."""
        return read_json(self.store, "dataset.json")

    def record(self) -> dict[str, Any]:
        """The record, or {} before the first attempt wrote one."""
        return read_json(self.store, "record.json") or {}

    def claims(self) -> list[Claim]:
        """All claims, oldest first."""
        found = []
        for name in self._numbers():
            claim = read_json(self.store, f"attempts/{name}/claim.json")
            if claim is not None:
                found.append(Claim(int(name), claim["kind"], claim["started"], claim["info"]))
        return found

    def attempts(self) -> list[Claim]:
        """The claims of attempts, oldest first: without those of finalisers."""
        return [claim for claim in self.claims() if claim.kind == "attempt"]

    def claim(self, kind: str, info: Mapping[str, Any], number: int | None = None) -> Attempt:
        """Take the next number, or exactly `number`; raises SupersededError when `number` is taken."""
        body = json.dumps({"kind": kind, "started": now(), "info": dict(info)}, indent=1)
        wanted = number or self._next_number()
        while True:
            try:
                self.store.write(f"attempts/{wanted:04}/claim.json", body, if_absent=True)
                return Attempt(self, wanted)
            except ObjectExistsError as error:
                if number is not None:
                    raise SupersededError(f"run {self.id}: a newer attempt has claimed number {number}") from error
                wanted += 1

    def _next_number(self) -> int:
        return max(map(int, self._numbers()), default=0) + 1

    def _numbers(self) -> list[str]:
        return [name for name in self.store.folders("attempts") if name.isdigit()]

    def history(self) -> list[dict[str, Any]]:
        """One row an epoch, merged over the attempts: where two wrote the same epoch, the newer counts."""
        rows: dict[int, dict[str, Any]] = {}
        for name in self._numbers():
            for row in read_rows(self.store.at("attempts", name)):
                rows[int(row["epoch"])] = row
        return [rows[epoch] for epoch in sorted(rows)]

    def metrics(self) -> dict[str, Any] | None:
        """metrics.json, or None before the run was finalised."""
        return read_json(self.store, "metrics.json")


@dataclass(frozen=True)
class Attempt:
    """One attempt's view of its run: every write goes through the fence."""

    run: Run
    number: int

    @property
    def store(self) -> Store:
        """The attempt's own folder."""
        return self.run.store.at("attempts", f"{self.number:04}")

    def check_not_superseded(self) -> None:
        """Raise SupersededError when a newer attempt has claimed the run."""
        if self.run.store.exists(f"attempts/{self.number + 1:04}/claim.json"):
            raise SupersededError(
                f"run {self.run.id}: attempt {self.number} was superseded by attempt {self.number + 1}; it stops here"
            )

    def write(self, key: str, data: bytes | str) -> None:
        """Write into the attempt's folder, unless superseded."""
        self.check_not_superseded()
        self.store.write(key, data)

    def write_shared(self, key: str, data: bytes | str) -> None:
        """Write into the run's folder, unless superseded."""
        self.check_not_superseded()
        self.run.store.write(key, data)

    def update_record(self, **changes: Any) -> dict[str, Any]:
        """Merge `changes` into the run's record, unless superseded. Returns the new record."""
        record = self.run.record() | changes
        self.write_shared("record.json", json.dumps(record, indent=1, sort_keys=True))
        return record


def create_run(root: Store, spec: JobSpec, dataset: str, run_id: str | None = None) -> Run:
    """A new run, with an id of its own if none is given.

    Stored: the spec as resolved, and `dataset`, the manifest of its dataset (JSON). The spec is last, and makes it a
    run: what was begun and broke off is begun again. Raises ObjectExistsError where there is a run of that id.
    """
    run_id = run_id or new_run_id(spec.name)
    run = Run(run_id, run_folder(root, run_id))
    if run.store.exists("spec.yaml"):
        raise ObjectExistsError(f"{run.store.address}/spec.yaml: is there already")
    run.store.write("dataset.json", dataset)
    run.store.write("spec.yaml", dump_spec(spec), if_absent=True)
    return run


STOP = "stop.json"
"""In a run's folder, a request to every attempt of it, in an attempt's to that one: stop at the next step's end."""


def request_stop(store: Store, reason: str) -> None:
    """Ask the run or the attempt at `store` to stop with a checkpoint. reason: in a few words, for the record."""
    store.write(STOP, json.dumps({"requested": now(), "reason": reason}))


def stop_requested(store: Store) -> str | None:
    """Why the run or the attempt at `store` is to stop, or None."""
    request = read_json(store, STOP)
    return None if request is None else str(request.get("reason") or "it was asked to")


def open_run(root: Store, run_id: str) -> Run:
    """An existing run by its id. Raises UserError with the nearest id, or where it is a sweep's."""
    if RUN_ID.match(run_id) or TRIAL_ID.match(run_id):  # else it might not even name a folder
        run = Run(run_id, run_folder(root, run_id))
        if run.store.exists("spec.yaml"):
            return run
        if root.exists(f"sweeps/{run_id}/spec.yaml"):
            raise UserError(
                f"{run_id} is a sweep: give one of its trials, which are runs, such as {run_id}-t000; `visionjobs "
                f"report {run_id}` tells which there are and compares them"
            )
    known = run_ids(root)
    hint = nearest(run_id, known) or (" `visionjobs runs` lists them." if known else " There are no runs there.")
    raise UserError(f'There is no run "{run_id}" in {root.address}.{hint}')


def run_ids(root: Store) -> list[str]:
    """Ids of all runs in a storage root, sorted. Folders with other names are not ours; those without a spec are of
    runs that were not made whole, or were told to stop before they were made."""
    names = [name for name in root.folders("runs") if RUN_ID.match(name)]
    with ThreadPoolExecutor(16) as pool:  # each is a question to the storage
        made = pool.map(lambda name: root.exists(f"runs/{name}/spec.yaml"), names)
        return [name for name, there in zip(names, made, strict=True) if there]


def read_rows(attempt_store: Store) -> list[dict[str, Any]]:
    """The rows of an attempt's metrics.jsonl, or []."""
    try:
        text = attempt_store.read("metrics.jsonl").decode()
    except MissingObjectError:
        return []
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise UserError(f"{attempt_store.address}/metrics.jsonl is not valid JSON lines ({error})") from error


def dump_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(dict(row)) + "\n" for row in rows)


def read_progress(attempt_store: Store) -> dict[str, Any] | None:
    """An attempt's progress.json (epoch, step, ...), or None before its first."""
    return read_json(attempt_store, "progress.json")


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """The object in a file of a run's or sweep's folder, None where it is not there. Raises UserError (damaged)."""
    try:
        text = store.read(key)
    except MissingObjectError:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{store.address}/{key} is not valid JSON ({error}): it was changed or cut off") from error
    if not isinstance(value, dict):
        raise UserError(f"{store.address}/{key}: expected a JSON object")
    return value
