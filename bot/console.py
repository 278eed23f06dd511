"""What the command line shows: progress on stderr, results and tables on stdout."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bot.names import printable
from bot.quality_note import clock, figures, quality_note
from spectacles_engine.messages import SeparationResult

if TYPE_CHECKING:
    from spectacles_engine.models import FileStatus, OnBytes

OnShare = Callable[[float], None]
"""Called with the share that is done, 0–1."""


def steady_output() -> None:
    """An output that is closed, or lacks a character of a name, must not cost the songs."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def complain(sentence: str) -> None:
    """One line on stderr, if that takes any: it costs no song."""
    with suppress(OSError):
        print(printable(" ".join(sentence.split())), file=sys.stderr, flush=True)


def announce(line: str) -> None:
    """One line on stdout, if somebody reads it."""
    with suppress(OSError):
        print(line, flush=True)


@contextmanager
def song_progress(song: str) -> Iterator[OnShare]:
    """A bar on stderr for one song, gone when it is done; nothing if stderr is no terminal."""
    with _progress(TaskProgressColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(_label(song), total=1.0)
        yield lambda share: progress.update(task, completed=share)


@contextmanager
def download_progress() -> Iterator[OnBytes]:
    """A bar on stderr for each file that is fetched; nothing if stderr is no terminal."""
    with _progress(DownloadColumn(), TimeRemainingColumn()) as progress:
        tasks: dict[str, object] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(_label(name))
            progress.update(tasks[name], completed=done, total=total or None)  # type: ignore[arg-type]

        yield report


def print_result(result: SeparationResult) -> None:
    """Where the stems of a song are, and how good they are estimated to be."""
    print(f"{printable(result.song)} ({clock(result.seconds)}, {clock(result.elapsed_s)} of work)")
    for path in result.files.values():
        print(f"  {printable(path)}")
    notes = [f"Note: {warning}." for warning in (*result.warnings, *result.shortages)]
    for line in (quality_note(result.note.of(result.files)), *notes):
        if line:
            print(f"  {line}")


def print_demo(result: SeparationResult, true_db: Mapping[str, float], mixture_db: Mapping[str, float]) -> None:
    """The estimated SDR of every stem beside the true one, and beside that of the untouched mixture."""
    print(f"Six seconds of a real song, separated on {result.device} in {result.elapsed_s:.1f} s.\n")
    rows = [
        (stem, figures(result.note.stems[stem]) or "–", f"{true_db[stem]:.1f}", f"{mixture_db[stem]:.1f}")
        for stem in result.files
    ]
    print_table(("uSDR in dB", "estimated (80 % range)", "true", "mixture as the estimate"), rows)
    print(f"\n{quality_note(result.note.of(result.files))}")


def print_models(files: Iterable[FileStatus]) -> None:
    """Every model file: which presets need it, whether it is here, and where it comes from."""
    rows = []
    for status in files:
        file = status.file
        size_mb = (status.size_bytes or 0) / 1e6
        size = "?" if not size_mb else "<0.1" if size_mb < 0.1 else f"{size_mb:.1f}"
        rows.append((", ".join(status.presets), file.name, status.state, size, file.licence, file.source))
    print_table(("preset", "file", "state", "MB", "licence", "source"), rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A drawn table in a terminal, columns padded with blanks elsewhere."""
    if sys.stdout.isatty():
        table = Table()
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _progress(*columns: BarColumn | TaskProgressColumn | TimeRemainingColumn | DownloadColumn) -> Progress:
    console = Console(stderr=True)
    described = TextColumn("{task.description}", markup=False)
    return Progress(described, BarColumn(), *columns, console=console, transient=True, disable=not console.is_terminal)


def _label(name: str) -> str:
    short = printable(name)
    return short if len(short) <= 40 else f"{short[:39]}…"
