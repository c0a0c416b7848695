"""Several processes that train one network together, through `accelerate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from linkwise.errors import UsageError, optional

PATIENCE = timedelta(minutes=10)  # one process may write a checkpoint while the others wait for it


class Team(Protocol):
    """Processes that train together, each on its share of every batch."""

    rank: int
    size: int
    device: Any

    def total(self, values: Any) -> Any:
        """The sum of a tensor over the processes."""

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each number over the processes."""

    def shared(self, value: Any) -> Any:
        """What the first process has, in every process."""


class Accelerated:
    """A process of a team, by `accelerate`.

    One that waits for ten minutes for the others fails; where a process has failed, torchrun ends the others.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        import torch

        accelerate = optional("accelerate", "deep", "training in several processes")
        # Without a GPU accelerate would take every process for one that is alone.
        cpu = cpu or not torch.cuda.is_available()
        patience = accelerate.InitProcessGroupKwargs(timeout=PATIENCE)
        self.accelerator = accelerate.Accelerator(cpu=cpu, kwargs_handlers=[patience])
        self.rank, self.size = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device

    def total(self, values: Any) -> Any:
        """The sum of a tensor over the processes."""
        return self.accelerator.reduce(values, reduction="sum")

    def most(self, values: Sequence[float]) -> list[float]:
        """The largest of each number over the processes."""
        import torch

        own = torch.tensor([list(values)], dtype=torch.float64, device=self.device)
        found: list[float] = self.accelerator.gather(own).amax(dim=0).tolist()
        return found

    def shared(self, value: Any) -> Any:
        """What the first process has, in every process."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value], from_process=0)[0]


def launched_team(*, cpu: bool = False) -> Accelerated | None:
    """The team that this process was started in by `torchrun` or `accelerate launch`; None when alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    return Accelerated(cpu=cpu)


def check_team(shard: bool, team: Team | None) -> None:
    """Raise `UsageError` where a training is to be divided, and there are no processes to do it among."""
    if shard and team is None:
        raise UsageError(
            "--shard divides a training among several processes, and this is one; start it with torchrun "
            "--nproc-per-node 2 -m linkwise ..., or leave --shard out."
        )
