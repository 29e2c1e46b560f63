"""Everything a worker holds before its first step: data on the device, model, optimiser, precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from visionjobs.data.cache import LocalDataset, Split
from visionjobs.data.loader import Batch, Images, Normaliser, open_images
from visionjobs.data.manifest import Manifest
from visionjobs.errors import UserError, nearest
from visionjobs.models import build_model
from visionjobs.models.outputs import Outputs, total
from visionjobs.models.precision import autocast, resolve_precision
from visionjobs.spec import JobSpec
from visionjobs.tasks import make_task
from visionjobs.tasks.base import Task
from visionjobs.training.evaluation import Evaluator, go_on
from visionjobs.training.worker import Worker


@dataclass
class Setup:
    """One worker's things. `model` is the bare module, `forward` what a training step calls (see `connect`);
    train_input: a batch -> inputs and targets; test: None where the dataset has no test split; look: see Evaluator."""

    spec: JobSpec
    worker: Worker
    task: Task
    model: nn.Module
    forward: Callable[[Tensor], Outputs]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: str
    train: Images
    val: Images
    train_input: Callable[[Batch], tuple[Tensor, Tensor]]
    val_input: Callable[[Batch], Tensor]
    test: Split | None
    look: Callable[[int], None] = go_on

    @property
    def local_batch(self) -> int:
        """Samples of a training batch on this worker."""
        return self.spec.train.batch // self.worker.world

    @property
    def evaluator(self) -> Evaluator:
        """Evaluates the current weights."""
        parts = (self.worker, self.task, self.model, self.local_batch, self.val_input, self.autocast)
        return Evaluator(*parts, look=self.look)

    def measured_images(self) -> Images:
        """Those that the final weights are measured on (Manifest.measured_split). A test split is gone through once."""
        if self.test is None:
            return self.val
        return open_images(
            self.test,
            size=(self.spec.data.size[0], self.spec.data.size[1]),
            device=self.worker.device,
            resident="never",
            fraction=self.spec.data.resident_fraction,
            processes_on_device=self.worker.processes_on_device,
        )

    def connect(self) -> None:
        """Join the other workers (DDP, from 2 on) and compile: a collective, so only once all workers are set up."""
        forward: nn.Module = self.model
        if self.worker.world > 1:
            on_gpu = self.worker.device.type == "cuda"
            forward = DistributedDataParallel(
                self.model,
                device_ids=[self.worker.device.index] if on_gpu else None,
                gradient_as_bucket_view=True,
                broadcast_buffers=not on_gpu,  # there SyncBatchNorm keeps them equal
            )
        if self.worker.world > 2:
            self._settle_buckets(forward)
        self.forward = torch.compile(forward) if self.spec.train.compile else forward

    def _settle_buckets(self, forward: nn.Module) -> None:
        """One pass whose gradients are thrown away.

        DDP regroups its gradient buckets after the first backward pass, and from three workers on the order of a sum,
        and so its last bits, depend on the grouping: it must not differ between a fresh and a resumed start.
        """
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        height, width = self.spec.data.size
        images = torch.zeros(2, 3, height, width, device=self.worker.device).to(memory_format=torch.channels_last)
        total(forward(images)).backward()  # type: ignore[no-untyped-call]
        self.optimizer.zero_grad(set_to_none=True)
        for name, buffer in self.model.named_buffers():
            buffer.copy_(buffers[name])

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which outputs and loss are computed."""
        return autocast(self.precision, self.worker.device)


def set_up(spec: JobSpec, dataset: LocalDataset, weights: Path | None, worker: Worker) -> Setup:
    """Build everything that needs no other worker. Raises UserError for what cannot work here."""
    device = worker.device
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    check_precision(spec, device.type == "cuda")
    check_dataset(spec, dataset.manifest)
    precision = resolve_precision(spec.train.precision, device)
    train, val = _open_splits(spec, dataset, worker)
    model = build_model(spec, len(dataset.manifest.classes), weights)
    if worker.world > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Setup(
        spec=spec,
        worker=worker,
        task=make_task(spec, dataset.manifest),
        model=model,
        forward=model,
        optimizer=torch.optim.Adam(parameters, lr=spec.train.lr, fused=True),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        precision=precision,
        train=train,
        val=val,
        train_input=_train_input(spec, device),
        val_input=plain_input(spec, device),
        test=dataset.split("test") if dataset.manifest.measured_split == "test" else None,
    )


def check_precision(spec: JobSpec, use_gpu: bool) -> None:
    """Raises UserError for fp16 on a CPU."""
    if spec.train.precision == "fp16" and not use_gpu:
        raise UserError("train.precision: fp16 needs a GPU, and there is none here; expected auto, fp32 or bf16")


def check_dataset(spec: JobSpec, manifest: Manifest) -> None:
    """Raises UserError where the job cannot be trained on the dataset: another task, too few images, no such class."""
    if manifest.task != spec.task:
        raise UserError(
            f"data.name: the dataset {manifest.name} is for {manifest.task} (layout {manifest.layout}), and the job's "
            f"task is {spec.task}"
        )
    for number, name in enumerate(spec.train.ignore):
        if name not in manifest.classes:
            raise UserError(
                f'train.ignore.{number}: the dataset {manifest.name} has no class "{name}"; expected some of: '
                f"{', '.join(manifest.classes)}.{nearest(name, manifest.classes)}"
            )
    if spec.train.ignore and not any(
        images for name, images in manifest.counts["train"].items() if name not in spec.train.ignore
    ):
        raise UserError("train.ignore: names every class that the training images hold: nothing is left to learn")
    for split in _needed_splits(spec, manifest):
        if not manifest.split_sizes.get(split):
            raise UserError(
                f"data.name: the dataset {manifest.name} has no images in a split {split}, which this job needs; "
                f"it has {', '.join(manifest.split_sizes)}"
            )
    if not spec.train.epochs:
        return
    available = manifest.split_sizes["train"] * (1 + spec.data.copies)
    if available < spec.train.batch:
        raise UserError(
            f"train.batch: {spec.train.batch} is more than the {available} training samples that dataset "
            f"{spec.data.name} gives in an epoch; lower it, or import more images"
        )


def _needed_splits(spec: JobSpec, manifest: Manifest) -> set[str]:
    measured = manifest.measured_split
    return {"train", "val", measured} if spec.train.epochs else {measured}


def _open_splits(spec: JobSpec, dataset: LocalDataset, worker: Worker) -> tuple[Images, Images]:
    """Training and validation images; the two share the device memory in proportion to their sizes."""
    splits = [dataset.split("train"), dataset.split("val")]
    total = sum(len(split) for split in splits)
    train, val = (
        open_images(
            split,
            size=(spec.data.size[0], spec.data.size[1]),
            device=worker.device,
            resident=spec.data.resident,
            fraction=spec.data.resident_fraction * len(split) / total,
            processes_on_device=worker.processes_on_device,
        )
        for split in splits
    )
    return train, val


def _train_input(spec: JobSpec, device: torch.device) -> Callable[[Batch], tuple[Tensor, Tensor]]:
    """uint8 batch -> normalised, augmented float images, NCHW in channels_last memory, and their targets."""
    normalise = Normaliser((spec.data.size[0], spec.data.size[1]), device)
    if spec.data.augment == "none":
        return lambda batch: (normalise(batch.images), batch.targets)
    if spec.task == "segmentation":
        return _with_masks(spec, normalise)
    from visionjobs.data.augment import AUGMENTATIONS, augment_copies

    augmentation = AUGMENTATIONS[spec.data.augment]()

    def augmented(batch: Batch) -> tuple[Tensor, Tensor]:
        if not np.any(batch.copy):
            return normalise(batch.images), batch.targets
        images = batch.images.permute(0, 3, 1, 2).float().div_(255)
        return normalise.floats(augment_copies(images, batch.copy, augmentation)), batch.targets

    return augmented


def _with_masks(spec: JobSpec, normalise: Normaliser) -> Callable[[Batch], tuple[Tensor, Tensor]]:
    """Every image augmented, and its mask moved with it."""
    from visionjobs.data.augment_masks import MASK_AUGMENTATIONS, augment_with_masks

    augmentation = MASK_AUGMENTATIONS[spec.data.augment]((spec.data.size[0], spec.data.size[1]))

    def augmented(batch: Batch) -> tuple[Tensor, Tensor]:
        images, masks = augment_with_masks(batch.images, batch.targets, augmentation)
        return normalise.floats(images), masks

    return augmented


def plain_input(spec: JobSpec, device: torch.device) -> Callable[[Batch], Tensor]:
    """uint8 batch -> normalised float images, as they are evaluated."""
    normalise = Normaliser((spec.data.size[0], spec.data.size[1]), device)
    return lambda batch: normalise(batch.images)
