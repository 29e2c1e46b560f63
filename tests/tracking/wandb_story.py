"""A run that was killed in its third epoch, and the same run complete after a second attempt."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import draw_tiny, finish, start_attempt, tiny_spec, train_here

from visionjobs.data.wildlife import import_wildlife
from visionjobs.runs import Run
from visionjobs.spec import JobSpec
from visionjobs.storage import open_store
from visionjobs.training.loop import Loop

KEY = "f00dcafe" * 5
SETS = (
    "train.epochs=3", "train.lr=1e-5", "data.augment=wildlife", "data.copies=1", "wandb.mode=off",
    'published={accuracy: {value: 0.5, source: "a paper"}}',
)  # fmt: skip
"""So slow a learner makes mistakes to show."""
STEPS_PER_EPOCH = 12  # 48 images and a copy of each, in batches of 8


@dataclass(frozen=True)
class Story:
    """The run's folder at two moments."""

    run_id: str
    killed: Path
    complete: Path

    def at(self, moment: str, folder: Path) -> Run:
        """The run as it was at a moment, in `folder`; what a mirror wrote there before stays."""
        shutil.copytree(getattr(self, moment), folder, dirs_exist_ok=True)
        return Run(self.run_id, open_store(str(folder)))


class KilledError(BaseException):
    """Ends the training at a step."""


def spec_with(mode: str) -> JobSpec:
    """The run's spec, but for wandb.mode."""
    return tiny_spec(*SETS, f"wandb.mode={mode}")


def tell_story(folder: Path) -> Story:
    """Have it happen, below `folder`."""
    draw_tiny(folder / "source")

    root, spec = open_store(str(folder / "storage")), tiny_spec(*SETS)
    import_wildlife(str(folder / "source"), "tiny", root, size=(32, 32))
    first = start_attempt(root, spec)
    train_step = Loop.train_step

    def deadly(self, batch) -> None:
        if self.step == 2 * STEPS_PER_EPOCH + 3:
            raise KilledError
        train_step(self, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Loop, "train_step", deadly)
        train_here(root, first, spec)
    shutil.copytree(first.run.store.address, folder / "killed")
    second = first.run.claim("attempt", first.run.claims()[0].info | {"code": {"source": "0" * 12}})
    finish(root, second, spec)
    return Story(first.run.id, folder / "killed", Path(first.run.store.address))
