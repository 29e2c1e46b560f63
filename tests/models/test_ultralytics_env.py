"""What ultralytics does to a process when it is imported, seen from a fresh one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

SCRIPT = """
import json, os, socket
import torch
from PIL import Image

asked = []
socket.getaddrinfo = lambda *a, **k: asked.append(a) or (_ for _ in ()).throw(OSError("no network"))
socket.create_connection = lambda *a, **k: asked.append(a) or (_ for _ in ()).throw(OSError("no network"))
before = Image.open, torch.save
from visionjobs.models.ultralytics_env import quiet_ultralytics
quiet_ultralytics()
from ultralytics.nn.tasks import DetectionModel
DetectionModel("yolov8n.yaml", nc=2, verbose=False)
quiet_ultralytics()
print(json.dumps([len(asked), before == (Image.open, torch.save), os.environ.get("OMP_NUM_THREADS")]))
"""


def test_the_network_pillow_torch_and_later_processes_are_left_alone() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "OMP_NUM"))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout) == [0, True, None]  # nothing else is printed
