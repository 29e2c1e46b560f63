"""Segmentation runs as their folders would tell them, with numbers that come from real metrics over drawn masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from visionjobs import scenes
from visionjobs.data.manifest import Manifest, Shard
from visionjobs.jobfile import parse_job
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.metrics.segmentation_samples import sample_metrics
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import Scenes
from visionjobs.tasks import make_task

CLASSES = ("Road", "Sky", "Car", "Train", "Void")
"""There is no Train anywhere."""
COLOURS = [[128, 64, 128], [128, 128, 128], [64, 0, 128], [192, 64, 128], [0, 0, 0]]
SIZE = (24, 32)
SHARD = Shard(file="masks-00000.npy", sha256="0" * 64, bytes=1, rows=1)

JOB = """
task: segmentation
model: {name: segnet}
data: {name: streets, version: 3f9c2ab41d77, size: [24, 32]}
train: {epochs: 3}
published:
  miou: {value: 0.2409, source: "part 2 (b)"}
  loss: {value: 0.8569, source: "part 2 (b)"}
"""


def drawn_truths(n: int) -> torch.Tensor:
    """Masks uint8 [n, 24, 32]: sky above road, with cars and a stripe of void; always the same ones."""
    draw = np.random.default_rng(5)
    masks = np.zeros((n, *SIZE), np.uint8)
    for mask in masks:
        mask[: draw.integers(6, 14)] = 1
        top, left = draw.integers(8, 16), draw.integers(0, 24)
        mask[top : top + 6, left : left + 8] = 2
        mask[:, : draw.integers(1, 3)] = 4
    return torch.from_numpy(masks)


def drawn_logits(truths: torch.Tensor, wrong: float, seed: int) -> torch.Tensor:
    """[n, K, H, W] whose argmax is right but for a share `wrong` of the pixels, which become Road or Sky."""
    generator = torch.Generator().manual_seed(seed)
    other = torch.randint(0, 2, truths.shape, generator=generator)
    answers = torch.where(torch.rand(truths.shape, generator=generator) < wrong, other, truths.long())
    return 3.0 * torch.nn.functional.one_hot(answers, len(CLASSES)).permute(0, 3, 1, 2)


def dataset(n: int = 9) -> Manifest:
    counts = {split: dict(zip(CLASSES, (n, n, n, 0, n), strict=True)) for split in ("train", "val", "test")}
    pixels = {split: dict(zip(CLASSES, (4000, 3000, 500, 0, 200), strict=True)) for split in counts}
    return Manifest(
        format=1, layout="camvid", name="streets", version="3f9c2ab41d77", classes=list(CLASSES), size=list(SIZE),
        counts=counts, rejected=0, shards=[], index_sha256="0" * 64, parameters={}, source="drawn",
        created="2026-05-04T10:11:12+00:00", masks=[SHARD], colours=COLOURS, pixels=pixels,
        sizes=dict.fromkeys(counts, n),
    )  # fmt: skip


def history(epochs: int = 3) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "step": 3 * epoch, "lr": 1e-3, "train_loss": 2 / (epoch + 1), "train_ce": 1.9 / (epoch + 1),
         "train_miou": 0.2 + epoch / 10, "train_pixel_accuracy": 0.5 + epoch / 10, "val_loss": 2.1 / (epoch + 1),
         "val_miou": 0.15 + epoch / 10, "val_pixel_accuracy": 0.45 + epoch / 10, "images_per_second": 10.0,
         "data_wait_share": 0.01, "gpu_utilisation": None, "peak_memory_bytes": 2**30, "seconds": 2.0,
         "diagnosis": None}
        for epoch in range(epochs)
    ]  # fmt: skip


def drawn_scenes(masks: MaskPredictions, truths: torch.Tensor) -> Scenes:
    """Images of noise; an example of each class that there is, and one image augmented twice."""
    draw = np.random.default_rng(7)
    index, kept = scenes.shown(masks), truths.numpy()
    classes = np.array([0, 1, 2, 4], np.int64)

    def noise(*shape: int) -> np.ndarray:
        return draw.integers(0, 256, (*shape, *SIZE, 3), dtype=np.uint8)

    repeated = np.repeat(kept[:1, None], 2, axis=1)[:, :, :, ::-1].copy()
    return Scenes(index, noise(len(index)), kept[index], classes, noise(4), kept[:1].repeat(4, axis=0), noise(1),
                  kept[:1], noise(1, 2), repeated)  # fmt: skip


def scene_run(job: str = "segnet", wrong: float = 0.3, n: int = 9, seed: int = 0, **parts: Any) -> RunSummary:
    """A finished run on n test images that is wrong on about a share of their pixels. Every part may be replaced."""
    spec, described, truths = parse_job(JOB, f"{job}.yaml", job), dataset(n), drawn_truths(n)
    task, logits = make_task(spec, described), drawn_logits(truths, wrong, seed)
    counts = task.eval_counts(torch.device("cpu"))
    task.count_eval(counts, logits, truths)
    kept = {name: rows.numpy() for name, rows in task.keep(logits, truths).items()}
    masks = MaskPredictions("test", CLASSES, tuple(f"test/{row:03}.png" for row in range(n)), **kept)
    values = task.result(counts).to_dict() | sample_metrics(masks, SIZE, resamples=200)
    run_id = f"{job}-20260504-101112-ab12"
    metrics = {"schema": 1, "run": run_id, "job": job, "task": "segmentation", "split": "test", "metrics": values}
    given = {
        "run": run_id, "job": job, "spec": spec.model_dump(mode="json"), "record": {"state": "complete"},
        "history": history(), "metrics": metrics, "dataset": described.model_dump(mode="json"), "masks": masks,
        "scenes": drawn_scenes(masks, truths),
    }  # fmt: skip
    return RunSummary(**(given | parts))
