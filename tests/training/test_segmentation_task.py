"""The segmentation task alone: its loss against torch's, what it counts, and what a history row says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix, jaccard_score
from tiny_masks import CAR, CLASSES, ROAD, SKY, TREE, masks_spec
from torch import Tensor

from visionjobs.data.manifest import Manifest
from visionjobs.metrics.segmentation import IGNORED
from visionjobs.models.outputs import WithAuxiliary, total
from visionjobs.tasks import make_task
from visionjobs.tasks.segmentation import Segmentation

WEIGHTED = "train.class_weights=median_frequency"
HEIGHT, WIDTH = 6, 7


@pytest.fixture
def manifest() -> Manifest:
    """Of 2 training images of 10x10: all are half sky; one is a quarter car, the road is the rest; no ghost."""
    pixels = {"sky": 100, "road": 70, "car": 25, "tree": 5, "ghost": 0}
    images = {"sky": 2, "road": 2, "car": 1, "tree": 1, "ghost": 0}
    return Manifest(
        format=1, layout="camvid", name="m", version="0", classes=list(CLASSES), size=[10, 10], rejected=0, shards=[],
        counts={"train": images, "val": images}, index_sha256="", parameters={}, source="",
        created="2026-01-02T03:04:05+00:00", pixels={"train": pixels}, sizes={"train": 2, "val": 2},
    )  # fmt: skip


WEIGHTS = torch.tensor([0.3 / 0.5, 0.3 / 0.35, 0.3 / 0.25, 0.3 / 0.05, 0.0])
"""median(.5, .35, .25, .05) = .3 over each class's share of the images in which it is."""


def task_of(manifest: Manifest, *sets: str) -> Segmentation:
    task = make_task(masks_spec(*sets), manifest)
    assert isinstance(task, Segmentation)
    return task


def batch(n: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [n, 5, H, W] that want a gradient, masks uint8 [n, H, W] of all classes but the ghost."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 5, HEIGHT, WIDTH, generator=generator).requires_grad_()
    return logits, torch.randint(0, 4, (n, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)


# The loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore", [(), (TREE,), (SKY, CAR)])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_are_torchs(
    manifest: Manifest, weighted: bool, ignore: tuple[int, ...], smoothing: float
) -> None:
    names = ",".join(CLASSES[k] for k in ignore)
    sets = (f"train.label_smoothing={smoothing}", f"train.ignore=[{names}]", *([WEIGHTED] if weighted else []))
    logits, masks = batch()
    terms = task_of(manifest, *sets).loss(logits, masks)
    assert set(terms) == {"loss", "main"}
    ours = torch.autograd.grad(terms["loss"], logits)[0]
    wanted = masks.long()
    for k in ignore:
        wanted[masks == k] = -1
    expected = F.cross_entropy(
        logits, wanted, WEIGHTS if weighted else None, ignore_index=-1, label_smoothing=smoothing
    )
    assert float(terms["loss"].detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, logits)[0])


def test_the_auxiliary_loss_weighs_half(manifest: Manifest) -> None:
    (main, masks), (auxiliary, _) = batch(seed=0), batch(seed=1)
    terms = task_of(manifest).loss(WithAuxiliary(main, auxiliary), masks)
    a, b = (F.cross_entropy(logits, masks.long()) for logits in (main, auxiliary))
    assert float(terms["main"].detach()) == pytest.approx(float(a.detach()))
    assert float(terms["auxiliary"].detach()) == pytest.approx(float(b.detach()))
    assert float(terms["loss"].detach()) == pytest.approx(float((a + 0.5 * b).detach()))
    got = torch.autograd.grad(terms["loss"], [main, auxiliary])
    torch.testing.assert_close(got[1], 0.5 * torch.autograd.grad(b, auxiliary)[0])
    torch.testing.assert_close(got[0], torch.autograd.grad(a, main)[0])


def test_an_ignored_class_gets_no_gradient_and_is_counted(manifest: Manifest) -> None:
    task = task_of(manifest, "train.ignore=[tree]")
    logits, masks = batch()
    task.loss(logits, masks)["loss"].backward()
    trees = (masks == TREE)[:, None].expand_as(logits)
    assert logits.grad is not None
    assert (logits.grad[trees] == 0).all()
    assert (logits.grad[~trees] != 0).any()
    counts = task.eval_counts(torch.device("cpu"))
    task.count_eval(counts, logits.detach(), masks)
    assert int(counts["confusion"].sum()) == masks.numel()
    assert int(counts["confusion"][TREE].sum()) == int((masks == TREE).sum()) > 0
    assert int(counts["nll_pixels"]) == int((masks != TREE).sum())


@pytest.mark.parametrize("sets", [("train.ignore=[road]",), (WEIGHTED,), ("train.ignore=[road]", WEIGHTED)])
def test_a_batch_without_a_pixel_to_learn_from_has_loss_0(manifest: Manifest, sets: tuple[str, ...]) -> None:
    """Crops may hold nothing else. torch's mean would be 0/0, which ends the run."""
    logits, masks = batch()
    loss = task_of(manifest, *sets).loss(logits, torch.full_like(masks, ROAD if "train.ignore=[road]" in sets else 4))
    assert float(loss["loss"].detach()) == 0
    loss["loss"].backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_loss_in_float32_whatever_the_logits(manifest: Manifest) -> None:
    logits, masks = batch()
    half = logits.detach().bfloat16()
    loss = task_of(manifest).loss(half, masks)["loss"]
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(F.cross_entropy(half.float(), masks.long())), rel=1e-6)


def test_every_output_is_in_the_total() -> None:
    """A first pass that leaves a parameter without a gradient would be an error under DDP."""
    main, auxiliary = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    total(WithAuxiliary(main, auxiliary)).backward()
    assert main.grad is not None
    assert auxiliary.grad is not None


# Counts and rows


def test_train_row_is_of_all_batches(manifest: Manifest) -> None:
    """Batches of 3 and 1: loss by samples, the rest by pixels, with weights in the loss and none in train_ce."""
    task = task_of(manifest, WEIGHTED, "train.label_smoothing=0.2", "train.ignore=[sky]")
    counts = task.train_counts(torch.device("cpu"))
    parts = [batch(3, 0), batch(1, 1)]
    losses = []
    for main, masks in parts:
        outputs = WithAuxiliary(main, 2 * main)
        terms = task.loss(outputs, masks)
        task.count_train(counts, terms, outputs, masks)
        losses.append(float(terms["loss"].detach()))
    logits = torch.cat([part[0] for part in parts]).detach()
    masks = torch.cat([part[1] for part in parts])
    truth, predicted = masks.flatten().numpy(), logits.argmax(1).flatten().numpy()
    wanted = masks.long().masked_fill(masks == SKY, IGNORED)
    row = task.train_row(counts)
    assert list(row) == ["train_loss", "train_ce", "train_miou", "train_pixel_accuracy"]
    assert row["train_loss"] == pytest.approx((3 * losses[0] + losses[1]) / 4, rel=1e-6)
    assert row["train_ce"] == pytest.approx(float(F.cross_entropy(logits, wanted, ignore_index=IGNORED)), rel=1e-6)
    assert row["train_pixel_accuracy"] == pytest.approx((truth == predicted).mean())
    assert row["train_miou"] == pytest.approx(jaccard_score(truth, predicted, labels=[0, 1, 2, 3], average="macro"))
    np.testing.assert_array_equal(counts["confusion"], confusion_matrix(truth, predicted, labels=range(5)))


def test_rows_of_nothing_are_none_not_0(manifest: Manifest) -> None:
    task = task_of(manifest)
    row = task.train_row(task.train_counts(torch.device("cpu")))
    assert (row["train_ce"], row["train_miou"], row["train_pixel_accuracy"]) == (None, None, None)


def test_eval_row_and_score(manifest: Manifest) -> None:
    task = task_of(manifest)
    counts = task.eval_counts(torch.device("cpu"))
    for seed in range(2):
        logits, masks = batch(seed=seed)
        task.count_eval(counts, logits.detach(), masks)
    found = task.result(counts).to_dict()
    row = task.eval_row(found)
    assert row == {
        "val_loss": found["loss"], "val_miou": found["miou"], "val_pixel_accuracy": found["pixel_accuracy"],
    }  # fmt: skip
    assert task.score(row) == found["miou"]
    assert task.score({}) is None
    assert found["images"] == 6
    assert found["per_class"]["ghost"]["iou"] is None


def test_what_is_kept_of_each_image_adds_up_to_the_counts(manifest: Manifest) -> None:
    task = task_of(manifest, "train.ignore=[sky]")
    logits, masks = batch(4)
    logits = logits.detach()
    counts = task.eval_counts(torch.device("cpu"))
    task.count_eval(counts, logits, masks)
    kept = task.keep(logits, masks)
    assert tuple(kept) == task.kept
    assert torch.equal(kept["confusions"].sum(0), counts["confusion"])
    assert float(kept["nll_sums"].sum()) == pytest.approx(float(counts["nll_sum"]), rel=1e-12)
    assert int(kept["nll_pixels"].sum()) == int(counts["nll_pixels"]) == int((masks != SKY).sum())
    assert torch.equal(kept["masks"], logits.argmax(1).to(torch.uint8))
    assert kept["boundaries"].shape == (4, 5, 4)
    for one in range(4):  # each image alone gives its own row
        alone = task.keep(logits[one : one + 1], masks[one : one + 1])
        assert all(torch.equal(alone[name][0], kept[name][one]) for name in task.kept)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_weights_and_codes_follow_to_a_gpu(manifest: Manifest) -> None:
    task = task_of(manifest, WEIGHTED, "train.ignore=[sky]")
    logits, masks = batch()
    here = float(task.loss(logits, masks)["loss"].detach())
    there = float(task.loss(logits.cuda(), masks.cuda())["loss"].detach())
    assert there == pytest.approx(here, rel=1e-5)
