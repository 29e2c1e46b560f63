"""What fine-tuning relies on in ultralytics. It fails when another version is installed, and says what to look at."""

from __future__ import annotations

import hashlib
import inspect

import pytest

from visionjobs.models.ultralytics_env import quiet_ultralytics

quiet_ultralytics()

import ultralytics  # noqa: E402
from ultralytics.data import build  # noqa: E402
from ultralytics.data.base import BaseDataset  # noqa: E402
from ultralytics.data.dataset import YOLODataset  # noqa: E402
from ultralytics.engine.trainer import BaseTrainer  # noqa: E402
from ultralytics.engine.validator import BaseValidator  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator  # noqa: E402
from ultralytics.utils import loss, torch_utils  # noqa: E402

from visionjobs.training.finetune_data import BoxDataset  # noqa: E402
from visionjobs.training.finetune_trainer import FineTuner  # noqa: E402

VERSION = "8.4.190"

RELIED_ON = {
    BaseTrainer.__init__: "(constants, device, callbacks before get_dataset, self.model a name that may be replaced)",
    BaseTrainer._setup_train: "(the order: freezing, amp, _build_train_pipeline, validator, EMA, resume_training, "
    "scheduler.last_epoch; DDP and the check of AMP skipped while world_size <= 1 and args.amp is False or bf16)",
    BaseTrainer._build_train_pipeline: "(batch_size // world_size; accumulate; the optimiser)",
    BaseTrainer._do_train: "(loss x world_size where RANK != -1; optimizer_step whenever `accumulate` = 1 batch is "
    "done; save_metrics and save_model on the main worker; the callbacks; the stop that is broadcast)",
    BaseTrainer.optimizer_step: "(unscale, clip, step, zero_grad, EMA)",
    BaseTrainer._model_train: "(frozen batch norm)",
    BaseTrainer.validate: "(EMA buffers from rank 0)",
    BaseTrainer.train: "(no processes of its own while self.ddp is False)",
    DetectionTrainer.get_dataloader: "(that of validation)",
    DetectionTrainer.build_dataset: "(BoxDataset is built with the same arguments)",
    DetectionTrainer._build_train_pipeline: "(max_det)",
    BaseValidator.__call__: "(collectives, and the names of what it returns)",
    DetectionValidator.gather_stats: "(RANK)",
    YOLODataset.get_labels: "(_load_or_scan_cache and cache_labels)",
    YOLODataset.cache_labels: "(writes beside the path it is given only)",
    BaseDataset.load_image: "(buffer, ims, im_hw0, im_hw: what BoxDataset.forget lets go of)",
    build.build_yolo_dataset: "(the arguments of BoxDataset)",
    build.build_dataloader: "(samplers of validation)",
    loss.v8DetectionLoss.loss: "(x batch size: the reason why the workers' gradients are added)",
    torch_utils.ModelEMA.update: "(tensors updated in place)",
}
DIGEST = "69a0c5c5d89251d07f64ac35a4330bdab378971bbf2f475856522b4f8d6f53e6"

OVERRIDES = sorted(
    name
    for name, value in vars(FineTuner).items()
    if name != "__init__" and inspect.isfunction(value) and hasattr(DetectionTrainer, name)
)


def test_version_and_source() -> None:
    text = "".join(inspect.getsource(function) for function in RELIED_ON)
    found = hashlib.sha256(text.encode()).hexdigest()
    told = "\n".join(f"- {function.__qualname__} {why}" for function, why in RELIED_ON.items())
    assert (ultralytics.__version__, found) == (VERSION, DIGEST), (
        f"ultralytics {ultralytics.__version__} is not the one that training/finetune_*.py was written against. Read "
        f"how these have changed, run the slow tests of fine-tuning, then write version and digest here:\n{told}"
    )


@pytest.mark.parametrize("name", OVERRIDES)
def test_each_override_takes_what_it_replaces(name: str) -> None:
    theirs, ours = (inspect.signature(getattr(owner, name)) for owner in (DetectionTrainer, FineTuner))
    assert list(ours.parameters) == list(theirs.parameters), f"DetectionTrainer.{name} takes other arguments now"


def test_what_is_replaced_is_there() -> None:
    assert {"get_dataset", "optimizer_step", "save_model", "resume_training", "_handle_nan_recovery"} <= set(OVERRIDES)
    assert list(inspect.signature(BoxDataset._load_or_scan_cache).parameters) == list(
        inspect.signature(YOLODataset._load_or_scan_cache).parameters
    )
