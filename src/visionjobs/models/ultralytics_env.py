"""What importing ultralytics changes in a process beyond its own modules, kept in bounds."""

from __future__ import annotations

import os

import torch
from PIL import Image


def quiet_ultralytics() -> None:
    """Import ultralytics. To be called before every import from it: the first time it takes seconds.

    Of itself the import asks the network whether it is there; later on, packages may be installed on the way, and
    models and settings are told of on stdout. What the user has set in the environment stays. It also replaces Pillow's
    Image.open by one that wants another package for every file that is no image, and torch.save, and tells processes
    that are started later to use one thread: all three are put back.
    """
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    threads = os.environ.get("OMP_NUM_THREADS")
    from ultralytics.utils import patches

    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    if Image.open is patches.image_open:
        Image.open = patches._image_open
    if torch.save is patches.torch_save:
        torch.save = patches._torch_save
