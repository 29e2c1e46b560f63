"""Finished runs of the tiny dataset."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tiny import finished_run, tiny_root

from visionjobs.models.trained import Trained, load_trained
from visionjobs.storage import Store

CPU = torch.device("cpu")


class Finished(NamedTuple):
    """root: a storage with the dataset "tiny", packed at another size than the models see; photos: its source files;
    convnet, resnet: the models of two finished runs, both with dropout. Shared: to be left as they are."""

    root: Store
    photos: Path
    convnet: Trained
    resnet: Trained


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    root = tiny_root(folder, "photos", size=(48, 40))
    sets = ("data.size=[32,48]", "model.dropout=0.4")
    convnet = finished_run(root, *sets, "train.epochs=2")
    resnet = finished_run(root, *sets, "model.name=resnet18", "train.epochs=1")
    return Finished(root, folder / "photos", load_trained(convnet, CPU), load_trained(resnet, CPU))
