"""`python -m benchmarks`: measure, write CSV files, and print the table of the README on stdout."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from benchmarks import (
    checkpoint_cost,
    colour_decoding,
    detection_evaluation,
    import_scale,
    input_speed,
    loop_speed,
    sweep_overhead,
)
from benchmarks.measure import Measured, Plan, SkippedError
from benchmarks.photos import ROOT
from benchmarks.results import (
    MACHINE,
    SUMMARY,
    add_to_summary,
    machine,
    markdown,
    read_rows,
    table,
    update_readme,
    write_rows,
)
from visionjobs.cli.console import counting_progress, err, out, print_error, print_warning
from visionjobs.errors import UserError, VisionjobsError

BENCHMARKS: dict[str, tuple[str, Callable[[Plan], Measured]]] = {
    "a": ("loop_speed", loop_speed.measure),
    "b": ("input_speed", input_speed.measure),
    "c": ("checkpoint_cost", checkpoint_cost.measure),
    "d": ("import_scale", import_scale.measure),
    "e": ("colour_decoding", colour_decoding.measure),
    "f": ("detection_evaluation", detection_evaluation.measure),
    "g": ("sweep_overhead", sweep_overhead.measure),
}
RESULTS = ROOT / "benchmarks" / "results"
QUICK_RESULTS = ROOT / "build" / "benchmarks-quick"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    only: Annotated[
        str,
        typer.Option(
            help="which, of a (loop) b (input) c (checkpoints) d (import) e (colours of labels) f (detection) g (sweep)"
        ),
    ] = "a,b,c,d,e,f,g",
    rounds: Annotated[int, typer.Option(min=1, help="how often each side is measured")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="toy sizes: whether it runs, not how fast")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="of a window of c; a whole epoch if not given")] = None,
    to: Annotated[Path | None, typer.Option(help="folder of the CSV files [default: benchmarks/results]")] = None,
) -> None:
    """Measure side by side, in alternating rounds. Run it alone on the machine: about 55 minutes on 2 cores.

    Needs about 6 GB in the folder for temporary files (TMPDIR). The README's table is renewed, unless at toy sizes or
    with --to.
    """
    chosen = _chosen(only)
    folder = to or (QUICK_RESULTS if quick else RESULTS)
    on = machine()
    write_rows(folder / MACHINE, [on])
    with counting_progress() as progress:
        for letter in chosen:
            name, measure = BENCHMARKS[letter]
            try:
                measured = _measure(f"({letter})", measure, progress, rounds=rounds, quick=quick, steps=steps)
            except SkippedError as reason:
                print_warning(f"({letter}) {name} is skipped: {reason}")
                continue
            write_rows(folder / f"{name}.csv", measured.rows)
            add_to_summary(folder, letter, measured.comparisons, on)
    summary = read_rows(folder / SUMMARY)
    if not summary:
        return
    err.print(table(summary, "toy sizes: the figures mean nothing" if quick else f"in {folder}"))
    out.print(markdown(summary))
    if folder == RESULTS and not quick and not update_readme(ROOT / "README.md", markdown(summary)):
        print_warning("README.md has no <!-- bench --> ... <!-- /bench --> to put the table into")


def _chosen(only: str) -> list[str]:
    chosen = sorted({letter.strip() for letter in only.split(",")})
    unknown = [letter for letter in chosen if letter not in BENCHMARKS]
    if unknown:
        raise UserError(f"--only: there is no benchmark {', '.join(unknown)}; expected some of {','.join(BENCHMARKS)}")
    return chosen


def _measure(
    title: str, measure: Callable[[Plan], Measured], progress: Progress, *, rounds: int, quick: bool, steps: int | None
) -> Measured:
    task = progress.add_task(title, total=None)

    def on_progress(what: str, done: int, total: int) -> None:
        progress.update(task, description=f"{title} {what}", completed=done, total=total)

    with tempfile.TemporaryDirectory(prefix="visionjobs-bench-") as scratch:
        return measure(Plan(rounds, quick, steps, Path(scratch), on_progress))


def main() -> None:
    """Entry point: a message for every error that is not a bug."""
    try:
        app()
    except VisionjobsError as error:
        print_error(str(error))
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print_error("Interrupted.")
        sys.exit(130)


if __name__ == "__main__":
    main()
