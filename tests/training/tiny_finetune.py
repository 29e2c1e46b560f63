"""A tiny detection dataset and job, fine-tuned in this process or in several, without Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny import assert_same_bits, pytest_fail, work_for

from visionjobs.data.coco import import_coco
from visionjobs.jobfile import build_spec, with_sets
from visionjobs.runs import Attempt, Run
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store
from visionjobs.training.checkpoint import decode_state, load_newest
from visionjobs.training.finetune import finetune_main
from visionjobs.training.worker_main import Outcome

COLOURS = ("red", "green", "blue")
IMAGES = {"train": 24, "val": 7}


def draw_rectangles(folder: Path, images: dict[str, int] = IMAGES) -> None:
    """Bright rectangles in one of three colours on grey noise, 1 to 3 an image, in COCO's layout. The first of each
    split has none."""
    generator = np.random.default_rng(0)
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(COLOURS)]
    (folder / "annotations").mkdir(parents=True)
    for split, count in images.items():
        (folder / split).mkdir()
        entries, annotations = [], []
        for number in range(count):
            height, width = (int(side) for side in generator.integers(80, 130, 2))
            pixels = generator.normal(110, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
            for _ in range(int(generator.integers(1, 4)) if number else 0):
                colour, w, h = (int(generator.integers(*span)) for span in ((0, 3), (20, 60), (20, 60)))
                x, y = int(generator.integers(0, width - w)), int(generator.integers(0, height - h))
                pixels[y : y + h, x : x + w, colour] = 240
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": number, "category_id": colour + 1,
                     "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
                )  # fmt: skip
            Image.fromarray(pixels).save(folder / split / f"{split}{number:02}.png")
            entries.append({"id": number, "file_name": f"{split}{number:02}.png", "height": height, "width": width})
        tree = {"images": entries, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(tree))


def rectangles_root(folder: Path, images: dict[str, int] = IMAGES) -> Store:
    """A storage root in `folder` with the dataset "rectangles" in it."""
    draw_rectangles(folder / "raw", images)
    root = open_store(str(folder / "storage"))
    import_coco(str(folder / "raw"), "rectangles", root)
    return root


def finetune_tree() -> dict[str, Any]:
    """A job file for a few seconds: 3 steps of 8 an epoch, 2 epochs."""
    return {
        "name": "tuned",
        "task": "detection",
        "model": {"name": "yolov8n"},
        "data": {"name": "rectangles", "size": [64, 64]},
        "train": {"epochs": 2, "batch": 8, "optimizer": "sgd", "lr": 1e-2},
    }


def finetune_spec(*sets: str) -> JobSpec:
    return build_spec(with_sets(finetune_tree(), sets), "tuned", sets)


def tune_here(root: Store, attempt: Attempt, spec: JobSpec) -> Outcome:
    """One worker, in this process."""
    return Outcome(**finetune_main(asdict(work_for(root, attempt, spec))))


def tune_in_processes(
    root: Store, attempt: Attempt, spec: JobSpec, world: int, die_at: int | None = None
) -> list[dict[str, Any]]:
    """`world` workers in processes of their own (gloo), that may not open a connection to anywhere else. Returns what
    each saw, see finetune_process.py; [] where at step `die_at` one of them is killed with -9."""
    work = asdict(work_for(root, attempt, spec))
    meeting = Path(f"{root.address}-meeting-{attempt.run.id}-{attempt.number}")
    script = Path(__file__).with_name("finetune_process.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(world)}
    seen = [Path(f"{meeting}-{rank}.pt") for rank in range(world)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), json.dumps(work), str(rank), str(world), str(meeting), str(die_at or 0),
             str(seen[rank])],
            env=environment,
        )
        for rank in range(world)
    ]  # fmt: skip
    try:
        if die_at is not None:
            assert processes[-1].wait(timeout=300) == -9
            return []
        assert [process.wait(timeout=300) for process in processes] == [0] * world
        return [torch.load(path, weights_only=True) for path in seen]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def newest_state(run: Run) -> dict[str, Any]:
    """The newest checkpoint, decoded."""
    found = load_newest(run, pytest_fail)
    assert found is not None
    return decode_state(found[1])


def assert_trained_together(first: dict[str, Any], second: dict[str, Any]) -> None:
    """What two workers noted in 2 epochs of 24 images: they shared the samples, and had one gradient."""
    assert first["outcome"] == second["outcome"]
    assert (first["outcome"]["error"], first["outcome"]["step"], first["outcome"]["facts"]["world"]) == (None, 6, 2)

    everything = {f"{number:012}.png" for number in range(24)}
    for epoch in (0, 1):
        ours, theirs = first["files"][epoch], second["files"][epoch]
        assert len(ours) == len(theirs) == 12
        assert set(ours).isdisjoint(theirs)
        assert set(ours) | set(theirs) == everything
    assert first["files"][0] != first["files"][1]

    reduced, other = first["reduced"], second["reduced"]
    assert_same_bits(reduced, other)
    locals_ = [first["local"], second["local"]]
    key = "model.0.conv.weight"
    for local in locals_:
        assert not torch.allclose(reduced[key], local[key], rtol=0.1)
    # The loss is a sum over the images, so that the workers' gradients are to be added, each once.
    for name, gradient in reduced.items():
        expected = locals_[0][name] + locals_[1][name]
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())), name

    validated = [*first["validated"], *second["validated"]]
    assert sorted(validated) == [f"{number:012}.png" for number in range(7)]
