"""Several processes that train one network together, through `accelerate`."""

from __future__ import annotations

import os
from typing import Any, Protocol

from linkwise.errors import optional


class Team(Protocol):
    """Processes that train together, each on its share of every batch."""

    rank: int
    size: int
    device: Any

    def total(self, values: Any) -> Any:
        """The sum of a tensor over the processes."""

    def shared(self, value: Any) -> Any:
        """What the first process has, in every process."""


class Accelerated:
    """A process of a team, by `accelerate`."""

    def __init__(self, *, cpu: bool = False) -> None:
        accelerate = optional("accelerate", "deep", "training in several processes")
        self.accelerator = accelerate.Accelerator(cpu=cpu)
        self.rank, self.size = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device

    def total(self, values: Any) -> Any:
        """The sum of a tensor over the processes."""
        return self.accelerator.reduce(values, reduction="sum")

    def shared(self, value: Any) -> Any:
        """What the first process has, in every process."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value], from_process=0)[0]


def launched_team(*, cpu: bool = False) -> Accelerated | None:
    """The team that this process was started in by `torchrun` or `accelerate launch`; None when alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    return Accelerated(cpu=cpu)
