"""What one worker process does: fetch, set up, restore, train. The same function runs under Ray and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.errors import FinalError, StoppedError, VisionjobsError
from visionjobs.jobfile import build_spec
from visionjobs.models.weights import locate_weights
from visionjobs.runs import Attempt, Run, now, run_folder
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.training.checkpoint import decode_state, load_newest
from visionjobs.training.loop import Loop
from visionjobs.training.outputs import write_outputs
from visionjobs.training.recorder import NO_LINK, Link, Recorder
from visionjobs.training.setup import Setup, set_up
from visionjobs.training.stop import running
from visionjobs.training.worker import Worker

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """All that a worker is told: plain values, no credentials (those are in its environment).

    trials_on_device: of a sweep, that share a worker's device with it at the same time, this one included.
    """

    storage: str
    endpoint: str | None
    cache: str
    run_id: str
    attempt: int
    spec: dict[str, Any]
    threads: int
    use_gpu: bool
    trials_on_device: int = 1


@dataclass(frozen=True)
class Outcome:
    """How the run ended, the same on every worker.

    When complete: step, and metrics of the final weights on the measured split; facts: for the record.
    Else: the error and its exit status; stopped: why, where it was told to stop.
    """

    step: int = 0
    metrics: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    exit_status: int = 0
    stopped: str | None = None


@dataclass
class _Prepared:
    """What a worker has before it meets the others. state: the newest checkpoint's bytes, on the main worker."""

    setup: Setup
    attempt: Attempt
    state: bytes | None
    warnings: list[str]


def worker_main(config: dict[str, Any], link: Link = NO_LINK) -> dict[str, Any]:
    """Entry point of a worker: a `Work` as a dict -> an `Outcome` as a dict. link: to whoever waits in this process.

    An error that a person can act on is returned, not raised: by all workers, so that none is left waiting in a
    collective, and Ray does not try again. Anything else is raised, and Ray restarts the workers.
    """
    return run_worker(config, _work, link)


def run_worker(config: dict[str, Any], do: Callable[[Work, Worker, Link], Outcome], link: Link) -> dict[str, Any]:
    """What every kind of worker does with its `config` and what `do` returns or raises: see worker_main."""
    work = Work(**config)
    torch.set_num_threads(work.threads)
    worker = Worker.current(work.use_gpu, work.trials_on_device)
    with running(f"worker-{work.run_id}-{worker.rank}"):  # a pod may hold workers of several trials
        try:
            return asdict(do(work, worker, link))
        except VisionjobsError as error:
            stopped = error.reason if isinstance(error, StoppedError) else None
            return asdict(Outcome(error=str(error), exit_status=error.exit_status, stopped=stopped))


def _work(work: Work, worker: Worker, link: Link) -> Outcome:
    return _train(work, worker, together(worker, lambda: _prepare(work, worker)), link)


def together(worker: Worker, prepare: Callable[[], T]) -> T:
    """What `prepare` makes on this worker; where it fails on one of them, all raise that error. All call it."""
    prepared: list[T] = []
    error: VisionjobsError | None = None
    try:
        prepared.append(prepare())
    except VisionjobsError as problem:
        error = problem
    except torch.OutOfMemoryError as problem:
        error = out_of_memory(problem)
    error = worker.first_error(error)
    if error is not None:
        raise error
    return prepared[0]


def open_work(work: Work) -> tuple[Store, Attempt, JobSpec]:
    """The storage, the attempt and the job. Raises SupersededError where a newer attempt holds the run."""
    root = open_store(work.storage, work.endpoint)
    attempt = Attempt(Run(work.run_id, run_folder(root, work.run_id)), work.attempt)
    attempt.check_not_superseded()
    return root, attempt, build_spec(work.spec, f"run {work.run_id}")


def _prepare(work: Work, worker: Worker) -> _Prepared:
    """All that can fail for one worker alone: no collectives in here.

    Weights and checkpoint are read by the main worker only: the others receive its state.
    """
    root, attempt, spec = open_work(work)
    cache = Path(work.cache)
    dataset = fetch(find_dataset(root, spec.data.name, spec.data.version), cache)
    warnings: list[str] = []
    newest = load_newest(attempt.run, warnings.append) if worker.is_main else None
    weights = locate_weights(spec, root, cache) if worker.is_main and newest is None else None
    setup = set_up(spec, dataset, weights, worker)
    return _Prepared(setup, attempt, newest[1] if newest else None, warnings)


def _train(work: Work, worker: Worker, prepared: _Prepared, link: Link) -> Outcome:
    loop = Loop(prepared.setup)
    _restore(loop, worker, prepared)
    prepared.setup.connect()
    facts = _facts(loop)
    start = Start(loop.step, loop.steps_per_epoch, prepared.warnings, facts, link)
    loop.recorder = start_recorder(work, worker, prepared.attempt, loop.setup.spec, start)
    with training(worker, loop.recorder):
        loop.run()
        metrics, groups = loop.last_evaluation()
    if worker.is_main:
        write_outputs(prepared.attempt, groups)
    return Outcome(step=loop.step, metrics=metrics, facts=facts)


def _restore(loop: Loop, worker: Worker, prepared: _Prepared) -> None:
    """The newest checkpoint, from the main worker to all. Its bytes are let go of: they are as large as the state."""
    state = worker.broadcast_bytes(prepared.state)
    prepared.state = None
    if state is not None:
        loop.restore(decode_state(state))


@dataclass(frozen=True)
class Start:
    """Where an attempt's training begins. step: batches done before; warnings, facts: for the record; link: see
    worker_main."""

    step: int
    steps_per_epoch: int
    warnings: list[str]
    facts: dict[str, Any]
    link: Link = NO_LINK


def start_recorder(work: Work, worker: Worker, attempt: Attempt, spec: JobSpec, start: Start) -> Recorder | None:
    """The recorder of the main worker, None on the others; where it cannot be opened, all raise why. All call it."""
    epoch = start.step // start.steps_per_epoch
    plan = {
        "epochs": spec.train.epochs,
        "steps_per_epoch": start.steps_per_epoch,
        "batch": spec.train.batch,
        "step": start.step,
        "epoch": epoch,
        "resumed_from_step": start.step or None,
        "began": now(),  # with the step it tells the speed, without the time that starting took
        "warnings": start.warnings,
        "facts": start.facts,
    }
    scratch = Path(work.cache) / "checkpoints"
    return together(worker, lambda: Recorder(attempt, scratch, plan, epoch, start.link) if worker.is_main else None)


@contextmanager
def training(worker: Worker, recorder: Recorder | None) -> Iterator[None]:
    """Around what trains: closes the recorder. An exhausted device is final, where there are no others to wait."""
    try:
        yield
    except torch.OutOfMemoryError as exhausted:
        if worker.world > 1:  # the others wait in a collective: only Ray can end them
            raise
        raise out_of_memory(exhausted) from exhausted
    finally:
        if recorder:
            recorder.close()


def _facts(loop: Loop) -> dict[str, Any]:
    """What the record says of how this worker trained."""
    setup = loop.setup
    return {
        "precision": setup.precision,
        "device": torch.cuda.get_device_name(setup.worker.device) if setup.worker.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "world": setup.worker.world,
        "resident": {"train": asdict(setup.train.residence), "val": asdict(setup.val.residence)},
        "samples_per_epoch": loop.samples,
        "dropped_per_epoch": loop.dropped,
    }


def out_of_memory(problem: BaseException) -> FinalError:
    """A device that is too small for the job stays too small."""
    first_line = str(problem).splitlines()[0]
    return FinalError(
        f"the device ran out of memory: lower train.batch or data.resident_fraction, or use more workers; then start a "
        f"new run ({first_line})"
    )
