"""The training loop of every torch task: one worker's part, in a Ray Train worker or in any process.

The order of samples and every random draw are a pure function of (seed, step, rank), and the step is the unit of a
checkpoint: a run that was killed anywhere ends, on the CPU with the same workers and threads, with the same weights
to the bit as one that was not.

A run that is told to stop (stop.py) does so after a step, or between two batches of an evaluation, with a checkpoint.
That of an epoch whose validation is still to come holds its training columns: the next attempt begins with validation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch

from visionjobs.arrays import Arrays
from visionjobs.data.loader import Batch
from visionjobs.data.order import batch_plan, epoch_order
from visionjobs.errors import FinalError, StoppedError, SupersededError
from visionjobs.tasks.base import Counts
from visionjobs.training.monitor import EpochMonitor
from visionjobs.training.outputs import last_evaluation
from visionjobs.training.recorder import Recorder
from visionjobs.training.schedule import learning_rate
from visionjobs.training.setup import Setup
from visionjobs.training.stop import Lookout, settle

NO_STEP = 2**62


class NotFiniteError(FinalError):
    """The loss became infinite or NaN."""


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of every random draw of one step on one worker (dropout, augmentation)."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()[:8]) >> 1


class Loop:
    """Trains to the end of the last epoch. `recorder` is set on the main worker, if its work is to be kept."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.recorder: Recorder | None = None
        spec, worker = setup.spec, setup.worker
        self.samples = len(setup.train) * (1 + spec.data.copies)
        self.steps_per_epoch = self.samples // spec.train.batch
        self.total_steps = self.steps_per_epoch * spec.train.epochs
        self.step = 0
        self.saved = 0  # the step of the newest checkpoint
        self.row: dict[str, Any] | None = None  # training columns, of an epoch that is not validated yet
        self.lookout = Lookout(worker, lambda: self.recorder.asked if self.recorder else None)
        setup.look = self._look
        self.counts: Counts = setup.task.train_counts(worker.device)
        self.losses = torch.zeros(self.steps_per_epoch, device=worker.device)

    @property
    def dropped(self) -> int:
        """Samples of the last incomplete batch, left out of each epoch."""
        return self.samples % self.setup.spec.train.batch

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint (tensors on the CPU or the device)."""
        setup = self.setup
        setup.model.load_state_dict(state["model"])
        setup.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and setup.scaler.is_enabled():  # empty where the run was not in fp16
            setup.scaler.load_state_dict(state["scaler"])
        self.step = self.saved = state["step"]
        self.row = state.get("row")
        rank, world = setup.worker.rank, len(next(iter(state["counts"].values())))
        for name, tensor in self.counts.items():
            if world == setup.worker.world:
                tensor.copy_(state["counts"][name][rank])
            elif rank == 0:  # another number of workers: the sums are kept, the bits of the run are not promised
                tensor.copy_(state["counts"][name].sum(0))

    def run(self) -> None:
        """Train from the current step to the last.

        Raises NotFiniteError, SupersededError or StorageError, on all workers at the same step; StoppedError too, once
        a checkpoint of that step is stored.
        """
        with self._keeping():
            if self.row is not None:
                self._validate(self.row)
            while self.step < self.total_steps:
                self._epoch(self.step // self.steps_per_epoch)

    def last_evaluation(self) -> tuple[dict[str, Any], dict[str, Arrays]]:
        """As in outputs.py, of the weights that `run` ended with. Raises StoppedError between batches."""
        with self._keeping():
            return last_evaluation(self.setup)

    def _epoch(self, epoch: int) -> None:
        """The rest of an epoch, from the current step on; then validation, a history row, and a checkpoint if due."""
        setup, spec = self.setup, self.setup.spec
        first = self.step % self.steps_per_epoch
        monitor, waited = EpochMonitor(setup.worker.device), setup.train.wait_seconds
        why = self.train_epoch(epoch)
        speed = monitor.finish((self.steps_per_epoch - first) * spec.train.batch, setup.train.wait_seconds - waited)
        rate = learning_rate(spec.train, self.step - 1, self.total_steps)
        row = {"epoch": epoch, "step": self.step, "lr": rate} | setup.task.train_row(setup.worker.sum(self.counts))
        for counts in self.counts.values():
            counts.zero_()
        self.row = row | speed.to_row()
        self._stop(why)
        self._validate(self.row)

    def _validate(self, row: dict[str, Any]) -> None:
        """What follows the steps of an epoch. row: its training columns."""
        setup, epoch = self.setup, row["epoch"]
        row = row | setup.task.eval_row(setup.evaluator.metrics(setup.val))
        self.row = None
        if self.recorder:
            self.recorder.row(row)
        checkpoint = setup.spec.train.checkpoint
        done = epoch + 1 if checkpoint.unit == "epochs" else self.step
        if self.step == self.total_steps or done % checkpoint.every == 0:
            self.checkpoint(epoch, setup.task.score(row))

    def train_epoch(self, epoch: int) -> str | None:
        """The steps that are left of an epoch, without what follows them. Returns why to stop after the last."""
        setup, spec = self.setup, self.setup.spec
        first = self.step % self.steps_per_epoch
        self.lookout.begin()
        order = epoch_order(len(setup.train), spec.data.copies, spec.train.seed, epoch)
        plan = batch_plan(order, spec.train.batch, setup.worker.rank, setup.worker.world, first)
        setup.model.train()
        with closing(setup.train.batches(plan)) as batches:
            for batch in batches:
                self.train_step(batch)
                self._after_step(epoch)
        return self._compare_notes()

    def train_step(self, batch: Batch) -> None:
        """One optimiser step. Nothing in here waits for the device."""
        setup = self.setup
        torch.manual_seed(step_seed(setup.spec.train.seed, self.step, setup.worker.rank))
        inputs, targets = setup.train_input(batch)
        self._set_learning_rate()
        with setup.autocast():
            outputs = setup.forward(inputs)
            terms = setup.task.loss(outputs, targets)
        setup.optimizer.zero_grad(set_to_none=True)
        setup.scaler.scale(terms["loss"]).backward()  # type: ignore[no-untyped-call]
        setup.scaler.step(setup.optimizer)
        setup.scaler.update()
        self.losses[self.step % self.steps_per_epoch] = terms["loss"].detach()
        setup.task.count_train(self.counts, terms, outputs, targets)
        self.step += 1

    def _set_learning_rate(self) -> None:
        """That of the step to come."""
        train = self.setup.spec.train
        for group in self.setup.optimizer.param_groups:
            group["lr"] = learning_rate(train, self.step, self.total_steps)

    def _after_step(self, epoch: int) -> None:
        """Progress; the workers compare notes once in a while; a checkpoint if one is due within the epoch."""
        if self.recorder:
            self.recorder.step(epoch, self.step)
        if self.step % self.steps_per_epoch == 0:  # they compare notes after the epoch
            return
        checkpoint = self.setup.spec.train.checkpoint
        due = checkpoint.unit == "steps" and self.step % checkpoint.every == 0
        is_time, why = self.lookout.due(), self.lookout.alone()
        if due or is_time or why is not None:  # before any checkpoint: none is kept of broken weights
            why = self._compare_notes()
        self._stop(why)
        if due:
            self.checkpoint(epoch, None)

    def _look(self, number: int) -> None:
        """After a batch of an evaluation, the first of which is 1."""
        if number == 1:
            self.lookout.begin()
        self._stop(self.lookout.between())

    def _stop(self, why: str | None) -> None:
        """Raises StoppedError where there is a reason to."""
        if why is not None:
            epoch = (self.step - 1) // max(self.steps_per_epoch, 1)
            raise StoppedError(f"stopped at step {self.step} (epoch {epoch + 1}): {why}", why)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Around what may be stopped: leaves it with a checkpoint of the step, stored."""
        try:
            yield
        except StoppedError as stopped:
            if self.saved != self.step:
                self.checkpoint((self.step - 1) // self.steps_per_epoch, None)
            settle(self.setup.worker, self.recorder, stopped.reason)
            raise

    def _compare_notes(self) -> str | None:
        """All workers stop at the same step, or none does: a loss was not finite, or a write of the main one failed.

        Returns why to stop, where one was told to.
        """
        worker = self.setup.worker
        done = self.step - (self.step - 1) // self.steps_per_epoch * self.steps_per_epoch
        bad = (~torch.isfinite(self.losses[:done])).nonzero()[:1].flatten()
        first_bad = self.step - done + int(bad.item()) if len(bad) else NO_STEP
        failed = self.recorder is not None and self.recorder.error is not None
        notes = [first_bad, 0 if failed else 1, *self.lookout.notes()]
        agreed = worker.minimum(torch.tensor(notes, dtype=torch.int64, device=worker.device)).tolist()
        first_bad, healthy, interval, seen = (int(value) for value in agreed)
        if first_bad < NO_STEP:
            raise NotFiniteError(
                f"the loss of step {first_bad + 1} (epoch {first_bad // self.steps_per_epoch + 1}) is not finite: "
                "lower train.lr, or set train.precision to fp32 or bf16; then start a new run"
            )
        if not healthy:
            raise (
                self.recorder.error
                if self.recorder and self.recorder.error
                else SupersededError("stopped with the main worker")
            )
        return self.lookout.take(interval, seen)

    def checkpoint(self, epoch: int, score: float | None) -> None:
        """Have the state written, in the background. All workers call it at the same step."""
        setup = self.setup
        self.saved = self.step
        counts = setup.worker.gather(self.counts)
        if self.recorder:
            state = {
                "model": setup.model.state_dict(),
                "optimizer": setup.optimizer.state_dict(),
                "scaler": setup.scaler.state_dict(),
                "step": self.step,
                "seed": setup.spec.train.seed,
                "counts": counts,
                "row": self.row,
            }
            self.recorder.checkpoint(state, step=self.step, epoch=epoch, score=score)
