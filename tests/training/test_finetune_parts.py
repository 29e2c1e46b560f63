"""What fine-tuning is made of: arguments, the order of samples, the loader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import start_attempt
from tiny_finetune import finetune_spec, rectangles_root

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.yolo_layout import write_yolo
from visionjobs.models.ultralytics_env import quiet_ultralytics
from visionjobs.training.finetune_args import trainer_arguments
from visionjobs.training.monitor import EpochSpeed
from visionjobs.training.worker import Worker

quiet_ultralytics()

from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.augment import Compose  # noqa: E402

from visionjobs.training.finetune_data import BoxDataset, EpochLoader, EpochSampler  # noqa: E402
from visionjobs.training.finetune_trainer import diagnosis, take_place  # noqa: E402

CPU = torch.device("cpu")


def arguments(*sets: str, precision: str = "fp32"):
    return get_cfg(
        overrides=trainer_arguments(
            finetune_spec(*sets), device=CPU, precision=precision, threads=2, scratch=Path("scratch")
        )
    )


def sampler(samples: int, batch: int, seed: int, rank: int, world: int) -> EpochSampler:
    return EpochSampler(samples, batch, seed, Worker(rank, world, CPU))


def test_arguments_are_ultralytics_own() -> None:
    found = arguments("train.schedule=cosine", "train.optimizer=adamw", "train.seed=5")
    assert (found.epochs, found.batch, found.imgsz, found.optimizer, found.seed) == (2, 8, 64, "AdamW", 5)
    assert (found.lr0, found.lrf, found.cos_lr, found.freeze, found.amp) == (0.01, 0.01, True, None, False)
    assert (found.plots, found.cache, found.patience, found.deterministic) == (False, False, 0, True)
    defaults = get_cfg()
    assert (found.warmup_epochs, found.nbs, found.box) == (defaults.warmup_epochs, defaults.nbs, defaults.box)
    constant = arguments(precision="bf16")
    assert (constant.lrf, constant.cos_lr, constant.amp) == (1.0, False, "bf16")


def test_augmentation_is_all_or_none() -> None:
    off, on, defaults = arguments(), arguments("data.augment=yolo"), get_cfg()
    for key in ("mosaic", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "erasing", "close_mosaic"):
        assert getattr(off, key) == 0, key
        assert getattr(on, key) == getattr(defaults, key) != 0, key
    for key in ("degrees", "shear", "perspective", "flipud", "bgr", "mixup", "cutmix", "copy_paste"):
        assert getattr(off, key) == 0, key


@given(
    steps=st.integers(1, 6), share=st.integers(1, 5), world=st.integers(1, 4), rest=st.integers(0, 3),
    seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000),
)  # fmt: skip
def test_ranks_are_disjoint_and_cover_whole_batches(
    steps: int, share: int, world: int, rest: int, seed: int, epoch: int
) -> None:
    batch = share * world
    samples = steps * batch + rest % batch
    parts = []
    for rank in range(world):
        part = sampler(samples, batch, seed, rank, world)
        part.set_epoch(epoch)
        parts.append(list(part))
        assert list(part) == parts[-1], "a pure function of its arguments"
        assert len(part) == len(parts[-1]) == steps * share
    together = [index for part in parts for index in part]
    assert len(set(together)) == len(together) == steps * batch
    assert set(together) <= set(range(samples))


def test_epochs_differ() -> None:
    part = sampler(40, 8, 0, 0, 1)
    first = list(part)
    part.set_epoch(1)
    assert sorted(first) == sorted(part)
    assert first != list(part)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BoxDataset:
    folder = tmp_path_factory.mktemp("rectangles")
    root = rectangles_root(folder)
    start_attempt(root, finetune_spec())
    layout = write_yolo(fetch(find_dataset(root, "rectangles", "newest"), folder / "cache"), folder / "yolo").parent
    return BoxDataset(
        img_path=str(layout / "images" / "train"), imgsz=64, batch_size=2, augment=True, task="detect", stride=32,
        hyp=arguments("data.augment=yolo"), data={"names": {0: "red", 1: "green", 2: "blue"}, "channels": 3},
    )  # fmt: skip


def test_dataset_writes_no_pickle_and_forgets(dataset: BoxDataset) -> None:
    assert len(dataset) == 24
    assert not list(Path(dataset.im_files[0]).parents[2].rglob("*.cache"))
    assert isinstance(dataset.transforms, Compose)
    for index in range(20):
        assert dataset[index]["img"].shape == (3, 64, 64)
    assert dataset.buffer
    assert len(dataset.buffer) <= dataset.max_buffer_length
    dataset.forget()
    assert dataset.buffer == []
    assert all(image is None for image in dataset.ims)


@pytest.mark.parametrize("processes", [0, 2])
def test_loader_gives_the_samplers_order_and_counts_the_wait(dataset: BoxDataset, processes: int) -> None:
    loader = EpochLoader(dataset, 4, sampler(24, 8, 0, 1, 2), processes, pin=False)
    assert len(loader) == 3
    batches = list(loader)
    files = [Path(file).name for batch in batches for file in batch["im_file"]]
    assert files == [Path(dataset.im_files[index]).name for index in loader.sampler]
    assert batches[0]["img"].dtype == torch.uint8
    assert loader.wait_seconds > 0


def test_loader_repeats_an_epoch_to_the_bit(dataset: BoxDataset) -> None:
    """Mosaics, colours and all, with processes of its own: what a resumed run needs."""
    loader = EpochLoader(dataset, 8, sampler(24, 8, 0, 0, 1), 2, pin=False)
    passes = []
    for _ in range(2):
        torch.manual_seed(7)
        passes.append(torch.cat([batch["img"] for batch in loader]).numpy())
    assert np.array_equal(*passes)
    assert len({image.tobytes() for image in passes[0]}) == 24


def test_place_is_told_to_every_module() -> None:
    import ultralytics.data.build
    import ultralytics.engine.trainer
    import ultralytics.utils

    modules = (ultralytics.utils, ultralytics.engine.trainer, ultralytics.data.build)
    try:
        take_place(Worker(1, 2, CPU))
        assert [module.RANK for module in modules] == [1, 1, 1]
        assert ultralytics.utils.LOCAL_RANK == 1
    finally:
        take_place(Worker(0, 1, CPU))
    assert [module.RANK for module in modules] == [-1, -1, -1]
    assert ultralytics.utils.LOCAL_RANK == -1


def test_diagnosis_names_what_can_be_changed() -> None:
    speed = EpochSpeed(10.0, 5.0, 0.4, 0.3, 1000, "the GPU was busy only 30% of the time; raise train.batch or set "
                       "train.compile")  # fmt: skip
    assert "resources.cpus" in diagnosis(speed)
    calm = EpochSpeed(10.0, 5.0, 0.0, 0.3, 1000, speed.diagnosis)
    assert diagnosis(calm) == "the GPU was busy only 30% of the time; raise train.batch"
    assert diagnosis(EpochSpeed(10.0, 5.0, 0.0, None, 1000, None)) is None
