"""What the tests of the mirror share."""

from __future__ import annotations

import pytest
from wandb_story import Story, tell_story


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A run that was killed, and the same run complete."""
    return tell_story(tmp_path_factory.mktemp("story"))
