"""What a training leaves in its folder: the state to resume from, ``log.csv``, and the same for TensorBoard."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kptalk.errors import WeightsError
from kptalk.files import atomic_write, writing


def load_state(path: Path, parts: Mapping[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Fill ``parts``, by name, with what a checkpoint holds; returns all of it, None where there is no checkpoint.

    Raises:
        WeightsError: it is damaged or of another network.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        if missing := {"best", "kept", "step", "seconds"} - state.keys():
            raise KeyError(*missing)
        return state
    except Exception as error:  # a damaged pickle raises anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(f"cannot resume from {path}: {reason}; delete it to restart") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; it replaces the last one when it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:  # given a name, torch says less of a full disk
        torch.save(dict(state), file)


class TrainingLog:
    """``log.csv`` of a training, and an event file for TensorBoard where that is installed.

    Rows after step ``first``, from which training resumes, are of a run that was killed: they are removed.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._path = folder / "log.csv"
        if self._path.exists():
            with self._path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if float(row.get("step") or math.inf) <= first]
            if rows:
                with atomic_write(self._path) as temporary:
                    _append(temporary, rows)
            else:
                self._path.unlink()
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(folder), purge_step=first + 1)

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row; its ``step`` says where it stands. Raises OutputError where it cannot be written."""
        with writing(self._path):
            _append(self._path, [row])
            if self._board:
                for name, value in row.items():
                    self._board.add_scalar(name, value, int(row["step"]))
                self._board.flush()

    def close(self) -> None:
        """Nothing more is written."""
        if self._board:
            self._board.close()


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if not file.tell():
            writer.writeheader()
        writer.writerows(rows)
