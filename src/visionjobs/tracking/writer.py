"""The process that talks to wandb (`python -m visionjobs.tracking.writer <descriptor>`), started by process.py.

It answers twice: None when wandb has begun the run, None when everything was delivered; or, instead of either, why not.
"""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from visionjobs.errors import first_line
from visionjobs.tracking.messages import Chart, End, Final, Plan, Rows, Table

INIT_SECONDS = 20
"""How long a server may take to answer at the start. wandb itself adds up to 10."""

FINISH_SECONDS = 45
"""How long the rest may take to be uploaded at the end."""

STREAM_SECONDS = 5.0
"""How often new rows are sent, so that an epoch shows while somebody watches (wandb's own default: 15)."""

ROWS_WITHOUT_EPOCH = "rows_without_epoch"
"""Summary key: how many rows of the run's history in wandb are no epochs, but hold what a complete run ended with."""

GONE = (EOFError, ConnectionError)
"""What reading and writing raise when the driver was killed."""

FATAL = "Fatal error while uploading"
"""So wandb-core 0.31 begins its message that it has given up; `finish` returns as if nothing had happened."""


class Writer:
    """One run in wandb. Its history has a row an epoch, in order, then one for what a complete run ends with."""

    def __init__(self, plan: Plan) -> None:
        import wandb

        self._wandb = wandb
        self._told = sys.stderr = io.StringIO()
        self._folder = Path(plan.folder)
        self._run = wandb.init(
            id=plan.run_id,
            name=plan.run_id,
            project=plan.project,
            group=plan.group,
            config=plan.config,
            allow_val_change=True,
            mode="online" if plan.key else "offline",
            # Without it a synced offline run replaces the one on the server, instead of adding its epochs once more.
            resume="allow" if plan.key else None,
            settings=_settings(plan),
        )
        self._defined: set[str] = set()
        self._extra_rows = int(self._run.summary.get(ROWS_WITHOUT_EPOCH) or 0)
        self._on_server = self._run.starting_step - self._extra_rows
        self._epochs = 0

    def rows(self, rows: list[dict[str, float]]) -> None:
        """Log epochs, but for those that a resumed run has already."""
        for row in rows:
            self._epochs += 1
            if self._epochs <= self._on_server:
                continue
            for key in row.keys() - self._defined - {"epoch"}:
                # step_sync would put the epoch into the last row too, which is none
                self._run.define_metric(key, step_metric="epoch", step_sync=False)
            self._defined |= row.keys()
            self._run.log(row)

    def end(self, final: Final | None, exit_code: int) -> None:
        """Log what the run ends with and deliver everything. Raises what wandb raises, TimeoutError among it."""
        if final is not None:
            self._run.log(self._media(final))
            self._run.summary.update(final.metrics | {ROWS_WITHOUT_EPOCH: self._extra_rows + 1})
        self._run.finish(exit_code=exit_code)
        self._wandb.teardown()
        if FATAL in self._told.getvalue():
            raise RuntimeError("the server refused some of the data")

    def _media(self, final: Final) -> dict[str, Any]:
        media: dict[str, Any] = {key: self._table(key, table) for key, table in final.tables.items()}
        media |= {key: self._chart(key, chart) for key, chart in final.charts.items()}
        media |= {key: self._figure(key, png) for key, png in final.figures.items()}
        for key, pictures in final.pictures.items():
            media[key] = [self._image(picture.pixels, picture.caption) for picture in pictures]
        return media

    def _table(self, key: str, table: Table) -> Any:
        logged = self._wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])
        # Bound here, it is a file of the run. Else wandb makes an artifact of it too, whose files an offline run
        # leaves outside its folder: `wandb sync` would find them gone, and the server could show no table.
        logged.bind_to_run(self._run, key, self._epochs)
        return logged

    def _chart(self, key: str, chart: Chart) -> Any:
        return self._wandb.plot_table(
            vega_spec_name=chart.preset,
            data_table=self._table(f"{key}_table", chart.table),
            fields=chart.fields,
            string_fields={"title": chart.title},
        )

    def _figure(self, key: str, png: bytes) -> Any:
        path = self._folder / f"{key.replace('/', '-')}.png"
        path.write_bytes(png)
        return self._wandb.Image(str(path))

    def _image(self, pixels: Any, caption: str) -> Any:
        from PIL import Image

        # not the array itself: wandb would stretch an image of 0 and 1 only
        return self._wandb.Image(Image.fromarray(pixels), caption=caption)


def _settings(plan: Plan) -> Any:
    """Nothing of this process or machine is of interest, and nothing but what is logged may be sent."""
    import wandb

    return wandb.Settings(
        api_key=plan.key,
        root_dir=plan.folder,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        stop_fn=lambda: None,  # "stop" in wandb's web page would only end this process
        console="off",
        silent=True,
        symlink=False,
        host="",
        program="",
        label_disable=True,
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_disable_viewer=True,
        x_save_requirements=False,
        x_file_stream_transmit_interval=STREAM_SECONDS,
    )


def serve(connection: Connection) -> None:
    """Write what comes until the end, then wait to be ended by the driver, which has the folder to fetch and remove."""
    plan: Plan = connection.recv()
    try:
        _write(connection, plan)
        _answer(connection, None)
    except Exception as error:  # noqa: BLE001 (whatever it is, the driver must hear of it and go on)
        text = first_line(error)
        _answer(connection, text.replace(plan.key, "***") if plan.key else text)
    with suppress(*GONE):
        while True:
            connection.recv()
    shutil.rmtree(plan.folder, ignore_errors=True)  # the driver was killed


def _write(connection: Connection, plan: Plan) -> None:
    """Raises what wandb raises."""
    writer = Writer(plan)
    _answer(connection, None)
    try:
        while isinstance(message := connection.recv(), Rows):
            writer.rows(message.rows)
    except GONE:
        message = End(None, exit_code=1)
    writer.end(message.final, message.exit_code)


def _answer(connection: Connection, problem: str | None) -> None:
    with suppress(*GONE):  # what it sent before it was killed is still to be read
        connection.send(problem)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
