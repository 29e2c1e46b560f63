"""The detectors' weights that ultralytics publishes, by the names that `model.weights` may give."""

from __future__ import annotations

import inspect
import re

from visionjobs.models.ultralytics_env import quiet_ultralytics

DETECTORS = re.compile(r"yolov8[nsmlx](-oiv7)?\.pt")
"""Of COCO's 80 classes, and with -oiv7 of Open Images V7's 601; the rest of ultralytics' files are for other tasks."""


def asset_urls() -> dict[str, str]:
    """File -> where ultralytics publishes it, in the release that its installed version takes; sorted by file."""
    quiet_ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, GITHUB_ASSETS_REPO, attempt_download_asset

    release = inspect.signature(attempt_download_asset).parameters["release"].default
    folder = f"https://github.com/{GITHUB_ASSETS_REPO}/releases/download/{release}"
    return {name: f"{folder}/{name}" for name in sorted(GITHUB_ASSETS_NAMES) if DETECTORS.fullmatch(name)}
