"""`visionjobs describe`: what a job is and what it will cost, before anything is run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from visionjobs.cli.console import err, out, print_warning
from visionjobs.cli.describe_boxes import describe_detector, detector_table
from visionjobs.cli.describe_sweep import search_table
from visionjobs.data.camvid_classes import CAMVID
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.jobfile import dump_spec, find_job, load_job
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store

if TYPE_CHECKING:
    from torch import nn

    from visionjobs.data.catalog import DatasetRef

ASSUMED_CLASSES = {"classification": 10, "segmentation": len(CAMVID), "detection": 80}
"""By task, where there is no dataset."""


def describe(
    job: Annotated[str, typer.Argument(help="A name that `visionjobs jobs` lists, or a job file.")],
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")] = False,
) -> None:
    """Show a job with all its defaults, the size of its model and its FLOPs; but for detection also its receptive field
    and memory. Where the job has a sweep section, what that searches."""
    settings = Settings.from_env()
    spec = _asked(find_job(job, settings.jobs), sets or [])
    with err.status("Measuring the model"):
        description = _describe(spec, open_store(settings.storage, settings.endpoint))
    if as_json:
        out.print_json(json.dumps(description))
        return
    err.print(dump_spec(spec), soft_wrap=True, markup=False)
    if spec.task == "detection":
        err.print(detector_table(description, _weights_text(description["spec"], description["weights"])))
    else:
        err.print(_table(description))
        if description["aspp"]:
            err.print(_aspp_table(description["aspp"]))
    if spec.sweep is not None:
        err.print(search_table(spec, spec.sweep))


def _asked(file: Path, sets: list[str]) -> JobSpec:
    """The job; without its sweep section, and with a warning, where `sets` are in the way of that alone."""
    try:
        return load_job(file, sets, sweep=True)
    except UserError as error:
        spec = load_job(file, sets)
        print_warning(f"it can be run, but not searched: {error}")
        return spec


def _describe(spec: JobSpec, root: Store) -> dict[str, Any]:
    """Plain values: counts, FLOPs (a multiply-add is 2), pixels and bytes."""
    dataset = _find_dataset(spec, root)
    classes = len(dataset.manifest.classes) if dataset else ASSUMED_CLASSES[spec.task]
    common = {
        "spec": spec.model_dump(mode="json"),
        "dataset": dataset.address if dataset else None,
        "classes": classes,
        "weights": _weights(spec, root),
    }
    return common | (describe_detector(spec, classes) if spec.task == "detection" else _costs(spec, dataset, classes))


def _costs(spec: JobSpec, dataset: DatasetRef | None, classes: int) -> dict[str, Any]:
    import torch

    from visionjobs.models import build_model
    from visionjobs.models.cost import measure
    from visionjobs.models.precision import resolve_precision
    from visionjobs.theory import model_receptive_field

    height, width = spec.data.size
    precision: str = spec.train.precision
    if precision == "auto":
        precision = resolve_precision("auto", torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    model = build_model(spec, classes, weights=None)
    cost = measure(model, spec.train.batch // spec.resources.workers, (height, width), dtype)
    return {
        "parameters": {"total": cost.parameters, "trainable": cost.trainable},
        "flops": {"image_forward": cost.forward_flops, "training_step": cost.step_flops * spec.resources.workers},
        "receptive_field": list(model_receptive_field(model)),
        "aspp": _aspp(model, (height, width)),
        "precision": precision,
        "memory_bytes_per_worker": {
            "weights": cost.weights,
            "gradients": cost.gradients,
            "optimizer": cost.optimizer,
            "activations": cost.activations,
            "sum": cost.memory,
            "resident_dataset": _resident_bytes(dataset, height * width) if dataset else None,
        },
    }


def _resident_bytes(dataset: DatasetRef, pixels: int) -> int:
    """Of all images at `pixels` a piece: 3 bytes a pixel, and one more where they have masks."""
    return dataset.manifest.images * pixels * (4 if dataset.manifest.masks else 3)


def _aspp(model: nn.Module, size: tuple[int, int]) -> list[dict[str, Any]] | None:
    """DeepLabV3's branches (models/aspp.py), None for other models."""
    from visionjobs.models.aspp import aspp_branches
    from visionjobs.models.deeplab import DeepLabV3

    return [asdict(branch) for branch in aspp_branches(model, size)] if isinstance(model, DeepLabV3) else None


def _find_dataset(spec: JobSpec, root: Store) -> DatasetRef | None:
    from visionjobs.data.catalog import find_dataset

    try:
        return find_dataset(root, spec.data.name, spec.data.version)
    except VisionjobsError as error:
        print_warning(f"{error}\n{ASSUMED_CLASSES[spec.task]} classes assumed.")
        return None


def _weights(spec: JobSpec, root: Store) -> dict[str, Any]:
    """What the job starts from: origin (None: random), and the sha256 of the copy in storage, where there is one."""
    from visionjobs.models.weights import job_source, stored_sha256

    source = job_source(spec)
    if source is None:
        return {"origin": None, "stored_sha256": None}
    return {"origin": source.origin, "stored_sha256": stored_sha256(root, source.file)}


def _table(description: dict[str, Any]) -> Table:
    spec, memory, flops = description["spec"], description["memory_bytes_per_worker"], description["flops"]
    workers, batch = spec["resources"]["workers"], spec["train"]["batch"]
    field, size = description["receptive_field"], spec["data"]["size"]
    table = Table("", "", title=spec["name"], show_header=False)
    classes = f"{description['classes']}{'' if description['dataset'] else ' (assumed: no dataset)'}"
    parameters = description["parameters"]
    rows = [
        ("dataset", description["dataset"] or "missing"),
        ("classes", classes),
        ("weights", _weights_text(spec, description["weights"])),
        ("parameters", f"{parameters['total']:,}, {parameters['trainable']:,} of them trainable"),
        ("FLOPs, forward, one image", f"{flops['image_forward'] / 1e9:,.2f} G (a multiply-add is 2)"),
        ("FLOPs, training step", f"{flops['training_step'] / 1e9:,.1f} G (global batch of {batch})"),
        ("receptive field", f"{field[0]} x {field[1]} pixels; the image has {size[0]} x {size[1]}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    table.add_section()
    table.add_row("memory of a worker, estimated", f"{batch // workers} images a step, {description['precision']}")
    names = {
        "weights": "weights",
        "gradients": "gradients",
        "optimizer": "Adam's two moments",
        "activations": "activations",
        "sum": "together",
        "resident_dataset": "the dataset, if device-resident",
    }
    for key, name in names.items():
        table.add_row(f"  {name}", "unknown" if memory[key] is None else f"{memory[key] / 2**20:,.1f} MiB")
    return table


def _aspp_table(branches: list[dict[str, Any]]) -> Table:
    table = Table(title="ASPP (atrous spatial pyramid pooling); costs in million multiply-adds an image")
    table.add_column("branch")
    for name in ("rate", "field", "cost", "field at rate 1", "cost at rate 1"):
        table.add_column(name, justify="right")
    for branch in branches:
        cells = [
            cell
            for reach in (branch["dilated"], branch["undilated"])
            for cell in (" x ".join(map(str, reach["receptive_field"])), f"{reach['multiply_adds'] / 1e6:,.1f}")
        ]
        table.add_row(branch["name"], str(branch["rate"]), *cells)
    return table


def _weights_text(spec: dict[str, Any], weights: dict[str, Any]) -> str:
    if weights["origin"] is None:
        return "random"
    if weights["stored_sha256"]:
        return f"{spec['model']['weights']}, in storage, sha256 {weights['stored_sha256'][:12]}..."
    if weights["origin"].startswith("https://"):
        return f"{spec['model']['weights']}, missing: visionjobs weights pull {spec['name']}"
    return str(weights["origin"])
