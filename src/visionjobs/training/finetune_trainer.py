"""Ultralytics' trainer as one worker of a run: its loop, augmentation, loss, EMA and validation; our data, checkpoints
and process group.

Replaced are its override points: get_dataset, get_dataloader, build_dataset, optimizer_step, resume_training,
save_model, save_metrics, final_eval and run_callbacks. Where it has none: `_build_train_pipeline` (its own DDP is for
CUDA only, and makes a process group; its check of AMP downloads a model), `_handle_nan_recovery` (reads its pickle),
and its two constants of the rank. Written against ultralytics 8.4.190: tests/training/test_finetune_pin.py says what to
look at when another one is installed.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import callbacks
from ultralytics.utils.torch_utils import unwrap_model

from visionjobs.errors import FinalError, StoppedError, SupersededError, VisionjobsError
from visionjobs.training.finetune_data import BoxDataset, EpochLoader, EpochSampler
from visionjobs.training.finetune_state import capture, restore
from visionjobs.training.loop import NotFiniteError, step_seed
from visionjobs.training.monitor import DATA_BOUND, EpochMonitor, EpochSpeed
from visionjobs.training.recorder import Recorder
from visionjobs.training.stop import Lookout, settle
from visionjobs.training.worker import Worker
from visionjobs.training.worker_main import out_of_memory

LOSSES = ("box_loss", "cls_loss", "dfl_loss")
"""Ultralytics' names; the columns of the history are train_box, train_cls and train_dfl."""
MAP50, MAP = "metrics/mAP50(B)", "metrics/mAP50-95(B)"


def take_place(worker: Worker) -> None:
    """Tell ultralytics which worker this is: it reads RANK and LOCAL_RANK once, when it is imported, and its modules
    keep copies of them. -1 is one worker alone, without a process group."""
    alone = worker.world == 1
    places = {
        "RANK": -1 if alone else worker.rank,
        "LOCAL_RANK": -1 if alone else int(os.environ.get("LOCAL_RANK", worker.rank)),
    }
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "ultralytics":
            for key, value in places.items():
                if key in vars(module):
                    setattr(module, key, value)


class FineTuner(DetectionTrainer):  # type: ignore[misc]
    """Trains from the start, or from where `state` was, to the end of the last epoch. `take_place` first.

    recorder: set on the main worker; step: batches done since the beginning of the run.
    Raises NotFiniteError, SupersededError or StorageError on all workers at the same step; StoppedError after a batch
    where it was told to stop: its unit is the epoch, so that the next attempt goes on from the last checkpoint.
    """

    accumulate: int

    def __init__(
        self, overrides: dict[str, Any], *, worker: Worker, precision: str, model: DetectionModel,
        folders: dict[str, str], names: Sequence[str], images: dict[str, int], every: int, state: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        """folders, images: split -> its folder in YOLO's layout, and how many images must be in it; every: epochs from
        checkpoint to checkpoint."""
        self.worker, self.precision = worker, precision
        self.folders, self.classes, self.images, self.every = folders, list(names), images, every
        self.state = state
        self.recorder: Recorder | None = None
        self.lookout = Lookout(worker, lambda: self.recorder.asked if self.recorder else None)
        self.step, self.batch = 0, 0  # batches done, of the run and of the epoch
        self.to_validate = 0  # batches of the validation that all workers have, and are still to come
        self.window, self.gathered = 1, 0  # batches whose gradients make a step, and how many are gathered
        self.row: dict[str, Any] = {}
        threads = torch.get_num_threads()
        super().__init__(overrides=overrides)
        torch.set_num_threads(threads)  # it takes those of the machine
        self.callbacks = callbacks.get_default_callbacks()  # for the validator: nothing else in them
        self.callbacks["on_val_batch_end"].append(lambda _validator: self._end_val_batch())
        self.model = model

    # Data

    def get_dataset(self) -> dict[str, Any]:
        """What its data.yaml says. Its own reading of one asks for a font from the network."""
        return {**self.folders, "names": dict(enumerate(self.classes)), "nc": len(self.classes), "channels": 3}

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> BoxDataset:
        """As build_yolo_dataset does, without the cache of labels."""
        training = mode == "train"
        return BoxDataset(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=not training,
            stride=max(int(unwrap_model(self.model).stride.max()), 32),
            pad=0.0 if training else 0.5,
            task=self.args.task,
            data=self.data,
        )

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> DataLoader[Any]:
        """Of the training split ours (finetune_data.py); that of validation stays, each image once over the ranks."""
        if mode != "train":
            loader: DataLoader[Any] = super().get_dataloader(dataset_path, batch_size, rank, mode)
            return loader
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        sampler = EpochSampler(len(dataset), self.batch_size, self.args.seed, self.worker)
        processes = self.args.workers if len(sampler) > batch_size else 0
        return EpochLoader(dataset, batch_size, sampler, processes, pin=self.device.type == "cuda")

    def _build_train_pipeline(self) -> None:
        """Called once the model is on its device and its layers are frozen: join the other workers, then its own.

        Raises FinalError where it is called again: the device's memory was exhausted, and it would go on with half of
        train.batch.
        """
        if hasattr(self, "train_loader"):
            raise out_of_memory(sys.exception() or RuntimeError("out of memory"))
        self.world_size = self.worker.world
        if self.world_size > 1:
            self.model = DistributedDataParallel(
                self.model,
                device_ids=[self.device.index] if self.device.type == "cuda" else None,
                find_unused_parameters=True,  # as it does; and DDP does not regroup its buckets then (setup.py)
                forward_sync_buffers=False,
            )
        super()._build_train_pipeline()
        self._check_images()
        self.window = min(self.accumulate, len(self.train_loader))
        self.accumulate = 1  # so that its loop calls optimizer_step after each batch
        self.amp = self.precision != "fp32"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def _check_images(self) -> None:
        """Raises FinalError, on all workers, where ultralytics left images out."""
        problem: VisionjobsError | None = None
        for split, loader in (("train", self.train_loader), ("val", self.test_loader)):
            folder, expected = Path(self.folders[split]), self.images[split]
            if len(loader.dataset) != expected:
                taken = {Path(file).name for file in loader.dataset.im_files}
                left = sorted(path.name for path in folder.iterdir() if path.name not in taken)
                problem = FinalError(
                    f"{folder}: ultralytics takes {len(taken)} of the {expected} images of {split}, and leaves out "
                    f"such as {left[0] if left else 'those that are missing'}: it wants 10 pixels a side and more. "
                    f"Import the others again, or delete {folder.parents[1]}, if it was changed: it is written anew"
                )
        if (first := self.worker.first_error(problem)) is not None:
            raise first

    # The loop

    def resume_training(self, ckpt: Any) -> None:
        """Take up our state, once everything is built."""
        if self.state is not None:
            restore(self, self.state)
            self.state = None
        self.step = self.start_epoch * len(self.train_loader)

    def run_callbacks(self, event: str) -> None:
        """Ours only: no integration of ultralytics (its platform, wandb, MLflow, Ray Tune ...) is called."""
        match event:
            case "on_train_epoch_start":
                self._begin_epoch()
            case "on_train_batch_end":
                self._end_batch()
            case "on_train_epoch_end":
                self._end_epoch()

    def _begin_epoch(self) -> None:
        """Nothing random or remembered is left over from the epoch before: a run resumed here goes on the same way."""
        loader = self.train_loader
        seed = step_seed(self.args.seed, self.step, self.worker.rank)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        loader.dataset.forget()
        loader.sampler.set_epoch(self.epoch)
        self.batch, self.gathered = 0, 0
        self.lookout.begin()
        self.waited, self.monitor = loader.wait_seconds, EpochMonitor(self.device)

    def optimizer_step(self) -> None:
        """Called after each batch: a step where `nbs` images are gathered (fewer in the warm-up, as in its loop), and
        after the last batch, so that no gradient is carried from one epoch into the next."""
        self.gathered += 1
        number, warmup = self.step, self._get_warmup_iterations(len(self.train_loader))
        window = max(1, round(float(np.interp(number, [0, warmup], [1, self.window])))) if warmup else self.window
        if self.gathered >= window or self.batch + 1 == len(self.train_loader):
            super().optimizer_step()
            self.gathered = 0

    def _end_batch(self) -> None:
        self.batch += 1
        self.step += 1
        if self.recorder:
            self.recorder.step(self.epoch, self.step)
        if self.batch < len(self.train_loader):  # else they compare notes after the epoch
            if self.lookout.due():
                self._compare_notes()
            self._stop(self.lookout.alone())

    def _end_val_batch(self) -> None:
        self.to_validate -= 1
        if self.to_validate >= 0:  # of a batch that all workers have
            self._stop(self.lookout.between())

    def _stop(self, why: str | None) -> None:
        """Raises StoppedError where there is a reason to, once the last checkpoint is stored."""
        if why is not None:
            settle(self.worker, self.recorder, why)
            raise StoppedError(
                f"stopped at step {self.step} (within epoch {self.epoch + 1}, which is trained again): {why}", why
            )

    def _compare_notes(self) -> dict[str, Tensor]:
        """All workers stop here, or none does: a loss was not finite, a write of the main one failed, or it was asked.

        Returns the mean losses of the epoch so far, over all workers, float32 [] each on the device.
        """
        losses = {key: value / self.worker.world for key, value in self.worker.sum(self.tloss).items()}
        finite = torch.stack(list(losses.values())).isfinite().all()
        failed = self.recorder is not None and self.recorder.error is not None
        notes = torch.tensor([int(not failed), *self.lookout.notes()], device=self.device)
        agreed = self.worker.minimum(torch.cat([finite.long()[None], notes])).tolist()
        is_finite, healthy, interval, seen = (int(value) for value in agreed)
        if not is_finite:
            raise NotFiniteError(
                f"the loss of epoch {self.epoch + 1} is not finite (seen at its batch {self.batch}): lower train.lr, "
                "or set train.precision to fp32 or bf16; then start a new run"
            )
        if not healthy:
            own = self.recorder.error if self.recorder else None
            raise own or SupersededError("stopped with the main worker")
        self._stop(self.lookout.take(interval, seen))
        return losses

    def _end_epoch(self) -> None:
        """Its training is over, its validation comes next: the first columns of its row."""
        losses = self._compare_notes()
        self.lookout.begin()
        self.to_validate = int(self.worker.minimum(torch.tensor(len(self.test_loader), device=self.device)).item())
        box, cls, dfl = torch.stack([losses[key] for key in LOSSES]).tolist()
        images = len(self.train_loader) * self.batch_size
        waited = self.train_loader.wait_seconds - self.waited
        speed = self.monitor.finish(images, waited)
        rate = next(group["lr"] for group in self.optimizer.param_groups if group["param_group"] == "weight")
        self.row = {
            "epoch": self.epoch, "step": self.step, "lr": rate,
            "train_loss": box + cls + dfl, "train_box": box, "train_cls": cls, "train_dfl": dfl,
        } | speed.to_row() | {"diagnosis": diagnosis(speed)}  # fmt: skip

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Never: a loss that is not finite has ended the run (_compare_notes); it would load its pickle."""
        return False

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """The epoch's row, on the main worker. Where no validation image has a box there is no mAP."""
        has_boxes = any(len(label["cls"]) for label in self.test_loader.dataset.labels)
        self.row |= {
            "val_map50": metrics[MAP50] if has_boxes else None, "val_map": metrics[MAP] if has_boxes else None
        }  # fmt: skip
        if self.recorder:
            self.recorder.row(self.row)

    def save_model(self) -> bool:
        """A checkpoint where one is due, on the main worker; its score is val_map. Returns whether it was."""
        done = self.epoch + 1
        due: bool = done % self.every == 0 or done == self.epochs
        if due and self.recorder:
            state = capture(self, self.classes)
            self.recorder.checkpoint(state, step=self.step, epoch=self.epoch, score=self.row["val_map"])
        return due

    def final_eval(self) -> None:
        """Not here: what the run ends with is evaluated by our own definitions (training/detect.py)."""


def diagnosis(speed: EpochSpeed) -> str | None:
    """One line on what held the epoch back and what to change, or None."""
    if speed.data_wait_share > DATA_BOUND:
        return (
            f"data-bound: {speed.data_wait_share:.0%} of the time was spent waiting for images; give each worker more "
            "CPUs (resources.cpus)"
        )
    return None if speed.diagnosis is None else speed.diagnosis.replace(" or set train.compile", "")
