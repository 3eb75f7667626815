"""Runs an exported job: here, or on a board that ssh reaches. The board needs edgebench and the model, nothing else."""

import shlex
import subprocess
from pathlib import Path

from . import Failure
from .export import DATA, JOB

RUN = "run"


def local(folder, edgebench):
    """Runs the job of `folder` here; its run folder."""
    run = _new(folder)
    # 1: some case failed, and the others are there.
    _call([edgebench, "run", str(Path(folder) / JOB), "--out", str(run)], allowed=(0, 1))
    return run


def remote(folder, board, edgebench):
    """Copies job and data to `board`, `user@host:/path`, runs it there, and copies the run back; its run folder.

    `edgebench` is the program on the board, from that path on.
    """
    host, colon, path = board.partition(":")
    if not colon or not host or not path or host.startswith("-"):
        raise Failure(f"--board {board}: write it like user@host:/path")
    name = Path(folder).resolve().name
    there, run = f"{path}/{name}", _new(folder)
    ssh, scp = ["ssh", "-o", "BatchMode=yes", host], ["scp", "-q", "-r", "-o", "BatchMode=yes"]
    quoted = shlex.quote
    _call([*ssh, f"mkdir -p {quoted(there)} && rm -rf {quoted(f'{there}/{DATA}')} {quoted(f'{there}/{RUN}')}"])
    _call([*scp, str(Path(folder) / JOB), str(Path(folder) / DATA), f"{host}:{there}/"])
    _call([*ssh, f"cd {quoted(path)} && {quoted(edgebench)} run {quoted(f'{name}/{JOB}')} --out {quoted(f'{name}/{RUN}')}"],
          allowed=(0, 1))
    _call([*scp, f"{host}:{there}/{RUN}", str(run)])
    return run


def _new(folder):
    """A run folder that is not there yet."""
    number = 1
    while (Path(folder) / "runs" / str(number)).exists():
        number += 1
    run = Path(folder) / "runs" / str(number)
    run.parent.mkdir(parents=True, exist_ok=True)
    return run


def _call(command, allowed=(0,)):
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as e:
        raise Failure(f"{command[0]}: {e.strerror}; install it, or give its path") from e
    if code not in allowed:
        raise Failure(f"{shlex.join(command)}: exit code {code}")
