"""Checks of this machine, for `doctor`: versions, GPU, cache, credentials. Nobody reads or prints a value of those."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from visionjobs.cluster.check import Check, look
from visionjobs.cluster.kubeconfig import has_cluster, kubeconfig
from visionjobs.errors import UserError, first_line
from visionjobs.settings import ClusterSettings, Settings, unknown_variables

FEW_BYTES, TOO_FEW_BYTES = 10 * 10**9, 10**9
"""Free disk of the cache to be told of: a dataset and a checkpoint fit into the first, nothing into the second."""

OTHER_CACHE = "set VISIONJOBS_CACHE to a folder of yours"

SKELETONS = ("rayjob.yaml", "job.yaml", "networkpolicy.yaml", "pod.yaml", "code.yaml")
"""The files of k8s/job onto which jobs are rendered."""


def check_versions(tree: Path | None) -> Check:
    """The installed libraries against `constraints.txt` of the working tree, with which the image is built too."""

    def find() -> Check | str:
        import platform

        file = tree / "constraints.txt" if tree else None
        if file is None or not file.is_file():
            return Check("versions", None, "no constraints.txt to compare with: this is no working tree")
        differing = []
        for name, wanted in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;#]+)", file.read_text(), re.MULTILINE):
            found = _installed(name)
            if found is not None and found.partition("+")[0] != wanted.partition("+")[0]:
                differing.append(f"{name} {found} (constraints.txt: {wanted})")
        if differing:
            return Check("versions", None, ", ".join(differing), "make install; else runs here and there may differ")
        ray, torch = _installed("ray"), _installed("torch")
        return f"Python {platform.python_version()}, Ray {ray}, PyTorch {torch}, as constraints.txt has them"

    return look("versions", find)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_gpu() -> Check:
    """What the driver shows and what torch can use of it. None at all is no fault."""
    import torch

    driver, names = _driver()
    if torch.cuda.is_available():
        seen = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Check("GPU", True, f"{seen}, driver {driver}, CUDA {torch.version.cuda}")
    if not names:
        return Check("GPU", True, "none on this machine: runs here train on the CPU")
    built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is a build for CPUs"
    return Check(
        "GPU", False, f"the driver {driver} shows {', '.join(names)}, and PyTorch, which {built}, cannot use it",
        "update the driver, or install a build of PyTorch that fits it",
    )  # fmt: skip


def _driver() -> tuple[str, list[str]]:
    """The NVIDIA driver's version and its GPUs; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return "", []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return str(pynvml.nvmlSystemGetDriverVersion()), [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except pynvml.NVMLError as error:
        return f"(which says: {error})", []
    finally:
        pynvml.nvmlShutdown()


def check_cache(settings: Settings) -> Check:
    """The cache folder can be written to, and its disk has room."""

    def find() -> Check | str:
        try:
            settings.cache.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(settings.cache).free
        except OSError as error:
            raise UserError(f"{settings.cache}: {error.strerror}; {OTHER_CACHE}") from error
        if not os.access(settings.cache, os.W_OK):
            return Check("cache", False, f"{settings.cache} cannot be written to", OTHER_CACHE)
        told = f"{settings.cache}: {free / 1e9:.0f} GB free"
        if free < FEW_BYTES:
            return Check("cache", None if free >= TOO_FEW_BYTES else False, told, f"free some space, or {OTHER_CACHE}")
        return told

    return look("cache", find)


def check_credentials(settings: Settings) -> Check:
    """Whether boto3 finds credentials, and where; not whether they are right, which the storage tells."""
    if "://" not in settings.storage:
        return Check("S3 credentials", True, "a folder asks for none")
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        found = boto3.session.Session().get_credentials()
    except BotoCoreError as error:
        return Check("S3 credentials", False, first_line(error), "correct the AWS_* variables and files")
    if found is None:
        return Check("S3 credentials", False, "there are none", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return Check("S3 credentials", True, f"from {found.method}")


def check_wandb() -> Check:
    """Whether the key is set here."""
    if os.environ.get("WANDB_API_KEY"):
        return Check("wandb", True, "WANDB_API_KEY is set: runs here are mirrored online")
    return Check("wandb", True, "WANDB_API_KEY is not set: runs here are mirrored offline, into their run folder")


def check_kubeconfig() -> Check:
    """Whether a cluster is named at all."""
    if has_cluster():
        return Check("kubeconfig", True, kubeconfig() or "that of the pod this runs in")
    return Check("kubeconfig", None, "there is none: what concerns a cluster is left out", "set KUBECONFIG to submit")


def check_variables() -> list[Check]:
    """One for each variable VISIONJOBS_* that nothing reads."""
    return [Check("variables", None, line) for line in unknown_variables()]


def check_skeletons() -> Check:
    """The settings of a cluster, the skeletons of manifests and the overlay can be read.

    Where no cluster is named, and no folder of skeletons either, that they are not in k8s/job is a warning.
    """
    from visionjobs.cluster.overlay import read_overlay
    from visionjobs.cluster.pods import read_skeleton

    def find() -> str:
        settings = ClusterSettings.from_env()
        for name in SKELETONS:
            read_skeleton(settings.skeletons, name)
        read_overlay(settings.overlay)
        return f"{settings.skeletons}, overlay {settings.overlay or 'none'}"

    check = look("skeletons", find)
    if check.ok is False and not os.environ.get("VISIONJOBS_K8S") and not has_cluster():
        return replace(check, ok=None, hint="to submit, run this in the project's folder, or set VISIONJOBS_K8S")
    return check
