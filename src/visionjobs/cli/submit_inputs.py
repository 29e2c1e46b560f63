"""The inputs of a job that is submitted: dataset, weights and run, checked and pinned before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visionjobs.cluster.check import Check, look
from visionjobs.cluster.run_status import read_submission
from visionjobs.cluster.sizes import cluster_share
from visionjobs.errors import UserError
from visionjobs.run_progress import SILENT_SECONDS, run_state
from visionjobs.runs import Run
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store

if TYPE_CHECKING:
    from visionjobs.data.manifest import Manifest
    from visionjobs.models.weights import Source

Pin = Callable[[Store, JobSpec, Path], JobSpec]
"""Gives a job what its names mean today. Takes the cache, too. Raises UserError."""

RUN = "run"
"""Name of the check that a run which is continued does not go on somewhere."""


@dataclass(frozen=True)
class Inputs:
    """spec: pinned, where the checks passed; manifest: of its dataset, None where that cannot be used."""

    spec: JobSpec
    manifest: Manifest | None
    checks: list[Check]


def check_inputs(root: Store, spec: JobSpec, cache: Path, run: Run | None = None, pin: Pin | None = None) -> Inputs:
    """Dataset and weights of a new run, or of one that is continued, whose spec is pinned already.

    cache: of this machine, into which a detector's weights are fetched to be looked at; pin: another way than a run's
    to do so.
    """
    from visionjobs.training.driver import pin_inputs

    manifests: list[Manifest] = []
    pinned = [spec]

    def dataset() -> str:
        manifests.append(_usable_dataset(root, spec))
        return f"{spec.data.name} {manifests[0].version}, {manifests[0].images:,} images"

    def weights() -> str:
        if run is not None and _has_checkpoints(run):
            return "those of the run's newest checkpoint"
        if run is None:
            pinned.append((pin or pin_inputs)(root, spec, cache))
        return stored_weights(root, pinned[-1])

    checks = [look("dataset", dataset)]
    if spec.train.compile:
        checks.append(
            Check("compile", None, "train.compile needs a compiler in the image, and ours has none",
                  "an image that has one: make image BASE=python:3.11-bookworm (README, The image)")
        )  # fmt: skip
    if manifests:  # pinning needs it
        checks.append(look("weights", weights))
    return Inputs(pinned[-1], manifests[0] if manifests else None, checks)


def check_run(run: Run) -> Check:
    """Nobody trains it now, on a machine, a Ray or a cluster, as far as its folder tells: the next attempt would take
    it over, and end that one."""

    def find() -> Check | str:
        claims = run.claims()
        state = run_state(run, run.record(), claims)
        if state != "running":
            return f"{run.id} is {state}"
        attempts = [claim for claim in claims if claim.kind == "attempt"]
        host = (attempts[-1].info.get("hardware") or {}).get("host") if attempts else None
        return Check(
            RUN, False, f"{run.id} is running" + (f" on {host}" if host else ""),
            f"`visionjobs cancel {run.id}` first. One that was killed there may be continued once it has written "
            f"nothing for {SILENT_SECONDS // 60} minutes",
        )  # fmt: skip

    return look(RUN, find)


def was_in_pods_of(run: Run, server: str, namespace: str) -> bool:
    """Whether its last attempt was in pods of this cluster, which then knows whether it goes on."""
    attempts = run.attempts()
    pod = (attempts[-1].info.get("pod") or {}) if attempts else {}
    if pod.get("backend") not in ("rayjob", "job"):
        return False
    where = read_submission(run)
    return (where.get("server"), where.get("namespace")) == (server, namespace)


def _usable_dataset(root: Store, spec: JobSpec) -> Manifest:
    """The manifest of the job's dataset. Raises UserError where there is none, or the job cannot be trained on it."""
    from visionjobs.data.catalog import find_dataset
    from visionjobs.training.finetune_args import check_finetune
    from visionjobs.training.setup import check_dataset, check_precision

    manifest = find_dataset(root, spec.data.name, spec.data.version).manifest
    check_dataset(spec, manifest)
    on_gpu = bool(cluster_share(spec.resources).gpus)
    check_precision(spec, on_gpu)
    if spec.task == "detection" and spec.train.epochs:
        check_finetune(spec, manifest, on_gpu)
    return manifest


def _has_checkpoints(run: Run) -> bool:
    from visionjobs.training.checkpoint import list_checkpoints

    return bool(list_checkpoints(run))


def stored_weights(root: Store, spec: JobSpec) -> str:
    """Where pods will find the job's weights. Raises UserError where they would not."""
    from visionjobs.models.weights import FOLDER, job_source, stored_sha256

    source = job_source(spec)
    if source is None:
        return "random"
    if source.kind == "s3":
        return _in_a_bucket(spec, source)
    stored, where = stored_sha256(root, source.file), f"{root.at(FOLDER).address}/{source.file}"
    supply = f"visionjobs weights pull {spec.name if source.kind == 'url' else source.origin}"
    if stored is None:
        seen = " (a file of this machine is not seen by pods)" if source.kind == "local" else ""
        raise UserError(f"{spec.model.weights} is not in the storage, at {where}{seen}; to supply it: {supply}")
    if not stored.startswith(source.sha256):
        raise UserError(
            f"{where} has the sha256 {stored}, and the job's begins with {source.sha256}: rename your file, or replace "
            f"that one: {supply}"
        )
    return where


def _in_a_bucket(spec: JobSpec, source: Source) -> str:
    folder, _, file = source.origin.rpartition("/")
    if not open_store(folder).exists(file):
        raise UserError(f"model.weights: {spec.model.weights} is not there; correct the address")
    return source.origin
