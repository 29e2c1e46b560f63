"""Prediction by Ray Data: the images stream through a pool of detectors, one a GPU or a share of the CPUs."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from visionjobs.arrays import pack_fields, unpack_fields
from visionjobs.boxes import Ints
from visionjobs.cluster.sizes import Share
from visionjobs.errors import StoppedError, StorageError, VisionjobsError, error_from, first_line
from visionjobs.runs import Attempt, now, read_progress, stop_requested
from visionjobs.training.box_parts import BoxPart, read_parts, write_part
from visionjobs.training.predictor import Predictor, PredictWork
from visionjobs.training.stop import POD, StopFile

BLOCK_BATCHES = {"cpu": 1, "gpu": 8}
"""A piece of work is so many batches: what is done again where a prediction is interrupted."""

NO_CUDA = (
    "the weights are an .onnx file, and onnxruntime was built without CUDA here: the network ran on the CPU, not the "
    "GPU; install onnxruntime-gpu, or give the weights as .pt"
)

Stream = Callable[[PredictWork, Share, Ints], Iterator[BoxPart]]
"""Predicts images of the split, given by their numbers, piece by piece."""

STOPPED = "stopped"
"""What a predictor answers where its pod was told to go: not an error of the block, which is left for later."""

LOOK_SECONDS = 5.0
"""How often the storage is asked whether the run is to stop."""

RAY_ENDS_SECONDS = 3.0
"""After a predictor has died: if Ray itself was ended, it is known by then."""


class PredictorError(VisionjobsError):
    """A failure that is none of ours, with the traceback of where it happened."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


class _PredictorStopped(Exception):  # noqa: N818 (no error: a predictor's pod was told to go)
    """A predictor answered STOPPED."""


class PredictingActor:
    """A Predictor in a process of Ray Data's. An error that a person can act on is returned, not raised: Ray would only
    wrap it, and try again."""

    def __init__(self, work: PredictWork) -> None:
        self._work = work
        self._predictor: Predictor | None = None
        self._told = StopFile()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One row a block: the part as bytes, or the error and its exit status as JSON, or STOPPED."""
        if self._told.is_there():
            return {"part": [b""], "error": [STOPPED]}
        try:
            if self._predictor is None:
                torch.set_num_threads(self._work.threads)
                self._predictor = Predictor(self._work)
            return {"part": [pack_fields(self._predictor.predict(batch["data"]))], "error": [""]}
        except VisionjobsError as error:
            return _failure(str(error), error.exit_status)
        except Exception as error:  # noqa: BLE001 (told with its traceback: tried again, it would fail again)
            told = f"a predictor failed with {type(error).__name__}: {first_line(error)}"
            return _failure(told, VisionjobsError.exit_status, traceback.format_exc())


def _failure(message: str, exit_status: int, trace: str = "") -> dict[str, Any]:
    return {"part": [b""], "error": [json.dumps([message, exit_status, trace])]}


def predict_boxes(work: PredictWork, share: Share, attempt: Attempt, images: int, stream: Stream) -> None:
    """Predict what no attempt has predicted yet of `images` images; each piece is stored when it is done.

    Predictors that die are started again, `limits.worker_failures` times. Raises VisionjobsErrors; StoppedError between
    two blocks, where it was asked to stop.
    """
    import ray
    from ray.exceptions import RayError

    failures = int(work.spec["limits"]["worker_failures"])
    damaged: list[str] = []
    before = read_parts(attempt.run, work.sha256, damaged.append)
    done = before.done if before else np.empty(0, np.int64)
    todo = np.setdiff1d(np.arange(images), done)
    progress = _Progress(attempt, images, len(done), work)
    progress.warn(damaged)
    stop = _StopRequest(attempt)
    deaths = 0
    while len(todo):
        try:
            stop.check(images - len(todo), images)
            for part in stream(work, share, todo):
                if work.use_gpu and str(part.device) == "cpu":
                    progress.warn([NO_CUDA])
                write_part(attempt, work.sha256, part)
                progress.add(part)
                todo = np.setdiff1d(todo, part.done)
                if len(todo):
                    stop.check(images - len(todo), images)
        except _PredictorStopped:
            raise _stopped(images - len(todo), images, POD) from None
        except PredictorError as error:
            attempt.write("error.txt", error.trace)
            raise error_from(f"{error}; in full in {attempt.store.address}/error.txt", error.exit_status) from error
        except RayError as error:
            time.sleep(RAY_ENDS_SECONDS)
            if not ray.is_initialized():  # whoever waited was interrupted, and has ended Ray: nothing is tried again
                raise VisionjobsError("Ray was ended under the prediction") from error
            deaths += 1
            if deaths > failures:
                raise VisionjobsError(
                    f"the predictors failed more often than limits.worker_failures = {failures} allows, at last with "
                    f"{type(error).__name__}: {first_line(error)}"
                ) from error
            progress.warn([f"a predictor died and was started again ({type(error).__name__}: {first_line(error)})"])


def stream_on_ray(work: PredictWork, share: Share, images: Ints) -> Iterator[BoxPart]:
    """By predictors in processes of Ray's. Needs `ray.init` before."""
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Of each step, of there being no bar, and of every failure with its traceback: what failed is told by us.
    for name in ("ray.data", "ray.data._internal.progress"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    blocks = _blocks(work, share, images)
    resources: dict[str, Any] = {"num_cpus": share.cpus} | ({"num_gpus": share.gpus} if share.gpus else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of max_restarts, from Ray 2.64 on
        found = ray.data.from_numpy(blocks).map_batches(
            PredictingActor,
            fn_constructor_args=(work,),
            compute=ray.data.ActorPoolStrategy(size=min(share.workers, len(blocks))),
            batch_size=None,
            max_restarts=0,  # Ray's own restarts have no bound
            **resources,
        )
    for rows in found.iter_batches(batch_size=1, prefetch_batches=0):
        yield _part(rows)


def stream_here(work: PredictWork, share: Share, images: Ints) -> Iterator[BoxPart]:
    """By one predictor, in this thread."""
    predictor = PredictingActor(work)
    for block in _blocks(work, share, images):
        yield _part(predictor({"data": block}))


def _blocks(work: PredictWork, share: Share, images: Ints) -> list[Ints]:
    """The images in pieces, at least one a predictor."""
    size = int(work.spec["detect"]["batch"]) * BLOCK_BATCHES["gpu" if share.gpus else "cpu"]
    size = min(size, -(-len(images) // share.workers))
    return [images[start : start + size] for start in range(0, len(images), size)]


def _part(answer: dict[str, Any]) -> BoxPart:
    """What a predictor found. Raises what it failed of, or that it was told to stop."""
    if answer["error"][0] == STOPPED:
        raise _PredictorStopped
    if answer["error"][0]:
        message, exit_status, trace = json.loads(answer["error"][0])
        raise PredictorError(message, trace) if trace else error_from(message, exit_status)
    return unpack_fields(BoxPart, answer["part"][0], "a predictor's answer", "boxes")


def _stopped(done: int, images: int, why: str) -> StoppedError:
    return StoppedError(f"stopped after {done} of {images} images were predicted: {why}", why)


class _StopRequest:
    """Whether the run, the attempt or this pod is told to stop. The storage is asked once in a while."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._told, self._asked = attempt, StopFile(), -math.inf

    def check(self, done: int, images: int) -> None:
        """Raises StoppedError where it is. done: images predicted and stored, of `images`."""
        why = POD if self._told.is_there() else self._in_storage()
        if why is not None:
            raise _stopped(done, images, why)

    def _in_storage(self) -> str | None:
        if time.monotonic() - self._asked < LOOK_SECONDS:
            return None
        self._asked = time.monotonic()
        with contextlib.suppress(StorageError):  # asked again later
            return stop_requested(self._attempt.run.store) or stop_requested(self._attempt.store)
        return None


class _Progress:
    """progress.json of a prediction, for whoever watches; at most once a second."""

    def __init__(self, attempt: Attempt, total: int, done: int, work: PredictWork) -> None:
        self._attempt, self._total, self._done, self._before = attempt, total, done, done
        self._trained = read_progress(attempt.store) or {}  # what a training before it left stays
        self._facts: dict[str, Any] = {"threads": work.threads}
        self._start, self._written = time.monotonic(), 0.0
        self._write()

    def warn(self, warnings: list[str]) -> None:
        """For the person who waits, and for the record."""
        known = self._trained.get("warnings") or []
        self._trained["warnings"] = list(dict.fromkeys([*known, *warnings]))

    def add(self, part: BoxPart) -> None:
        self._done += len(part.done)
        first = "predicted_on" not in self._facts
        self._facts["predicted_on"] = str(part.device)
        if self._done == self._total or first or time.monotonic() - self._written >= 1.0:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        seconds = self._written - self._start
        speed = (self._done - self._before) / seconds if self._done > self._before else None
        entries: dict[str, Any] = {"stage": "predicting", "done": self._done, "total": self._total, "unit": "images",
                   "images_per_second": speed and round(speed, 2), "updated": now()}  # fmt: skip
        entries["facts"] = (self._trained.get("facts") or {}) | self._facts
        self._attempt.write("progress.json", json.dumps(self._trained | entries))
