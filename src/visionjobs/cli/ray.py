"""`visionjobs ray-up` and `ray-down`: the Ray on this machine that runs share."""

from __future__ import annotations

from visionjobs.cli.console import err, out
from visionjobs.settings import Settings


def up() -> None:
    """Start a Ray that stays up, with its dashboard: runs join it, instead of starting one each.

    Its workers have the credentials of this environment. The last line on stdout is the dashboard's address.
    """
    from visionjobs.cluster import local

    settings = Settings.from_env()
    with err.status("Starting Ray (about 10 seconds)"):
        before = local.living(settings)
        cluster = before or local.ray_up(settings)
    err.print(f"Ray is {'already ' if before else ''}up at {cluster.address}. Stop it with `visionjobs ray-down`.")
    say_where(cluster.dashboard_url, str(cluster.token_file))


def down() -> None:
    """Stop the Ray that `ray-up` started, and no other. Returns when none of its processes is left."""
    from visionjobs.cluster import local

    with err.status("Stopping Ray"):
        cluster = local.ray_down(Settings.from_env())
    err.print(f"Ray at {cluster.address} is down." if cluster else "No Ray of ours is up.")


def say_where(url: str, token_file: str) -> None:
    """The address, last on stdout, and where the token is."""
    err.print(f"Dashboard: {url}\nThe page asks for a token, which is in {token_file}", soft_wrap=True)
    out.print(url)
