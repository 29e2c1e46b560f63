"""What `visionjobs describe` says of a detection job."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from visionjobs.spec import JobSpec


def describe_detector(spec: JobSpec, classes: int) -> dict[str, Any]:
    """Plain values: parameters; FLOPs of one image, evaluated (a multiply-add is 2)."""
    from visionjobs.models.cost import detector_flops
    from visionjobs.models.yolo import BACKBONE, build_yolo

    height, width = spec.data.size
    model = build_yolo(spec.model.name, classes)
    if spec.train.freeze == "backbone":
        model.model[:BACKBONE].requires_grad_(False)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad) if spec.train.epochs else 0
    return {
        "parameters": {"total": sum(p.numel() for p in model.parameters()), "trainable": trainable},
        "flops": {"image_forward": detector_flops(model, (height, width))},
    }


def detector_table(description: dict[str, Any], weights: str) -> Table:
    """description: what `describe_detector` gives, with spec, dataset and classes."""
    spec, parameters = description["spec"], description["parameters"]
    detect, size, epochs = spec["detect"], spec["data"]["size"], spec["train"]["epochs"]
    table = Table("", "", title=spec["name"], show_header=False)
    rows = [
        ("dataset", description["dataset"] or "missing"),
        ("classes", f"{description['classes']}{'' if description['dataset'] else ' (assumed: no dataset)'}"),
        ("weights", weights),
        ("parameters", f"{parameters['total']:,}, {parameters['trainable']:,} of them trainable"),
        (
            "FLOPs, forward, one image",
            f"{description['flops']['image_forward'] / 1e9:,.2f} G at {size[0]} x {size[1]} (a multiply-add is 2)",
        ),
        ("training", f"{epochs} epochs" if epochs else "none: the weights are evaluated as they are"),
        ("confidence floors", ", ".join(map(str, detect["floors"]))),
        ("NMS", f"IoU {detect['nms_iou']}, at most {detect['max_det']} boxes an image"),
        ("predicted at once", f"{detect['batch']} images by each of {spec['resources']['workers']} predictors"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table
