"""Several processes, on several devices, that train one next-item network together.

`fit_in_processes` writes the job to a folder and starts `torch.distributed.run` on this module, whose
processes meet through `accelerate`; the weights come back in the job's folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from linkwise.context import Context, Silent
from linkwise.data.interactions import Histories
from linkwise.errors import Interrupted, ResourceError, optional
from linkwise.estimators import sequence
from linkwise.estimators.fit_sequence import Trained, Validation, fit_next_item
from linkwise.estimators.sequence_config import SequenceConfig
from linkwise.lm.team import Accelerated

NETWORKS = {"GRUNetwork": sequence.GRUNetwork, "AttentionNetwork": sequence.AttentionNetwork}


class _Lines(Silent):
    """Progress as a line for each epoch, which the process that waits reads."""

    def advance(self, done: int) -> None:
        """The epochs that are done."""
        print(f"epoch {done}", flush=True)


def fit_in_processes(
    network: Any,
    histories: Histories,
    config: SequenceConfig,
    context: Context,
    validation: Validation | None,
    name: str,
) -> Trained:
    """`fit_next_item` in `config.processes` processes of this machine.

    Raises `ResourceError` with the last words of a process that fails.
    """
    optional("accelerate", "deep", "training in several processes")
    with tempfile.TemporaryDirectory(prefix="linkwise-team-") as scratch:
        job = Path(scratch)
        save_file(dict(network.state_dict()), job / "begin.safetensors")
        parts = {"histories": histories}
        if validation is not None:
            parts |= {"asked": validation.histories, "targets": validation.targets}
        np.savez(
            job / "data.npz",
            **{
                f"{part} {field}": getattr(found, field)
                for part, found in parts.items()
                for field in ("offsets", "items", "scores", "times", "whole")
            },
        )
        about = {
            "network": type(network).__name__,
            "made_by": network.made_by,
            "config": config.model_dump(),
            "folder": str(context.folder.absolute()) if context.folder != Path() else "",
            "seed": context.seed,
            "threads": max(1, context.threads // config.processes),
            "name": name,
            "repeats": validation is not None and validation.repeats,
        }
        (job / "job.json").write_text(json.dumps(about))
        with context.step(f"train {name}", config.epochs):
            _launch(job, config.processes, context)
        result = json.loads((job / "trained.json").read_text())
        state = load_file(job / "trained.safetensors")
    network.load_state_dict(state)
    network.eval()
    return Trained(state, result["best_epoch"], result["history"])


def _launch(job: Path, processes: int, context: Context) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", "linkwise.estimators.team", str(job)]
    with (job / "errors").open("w+") as errors:
        team = subprocess.Popen(command, stdout=(job / "lines").open("w"), stderr=errors, text=True)
        done = 0
        try:
            while team.poll() is None:
                time.sleep(0.2)
                found = (job / "lines").read_text().count("epoch")
                if found > done:
                    done = found
                    context.progress.advance(done)
                if context.cancelled():
                    raise Interrupted("training was stopped; go on with --resume.")
        finally:
            if team.poll() is None:
                team.terminate()
                team.wait()
        if team.returncode:
            errors.seek(0)
            said = [line for line in errors.read().splitlines() if "Error" in line]
            raise ResourceError(
                f"training in {processes} processes failed: {said[0] if said else 'no reason given'}. "
                "Try it with processes=1."
            )


def _work(job: Path) -> None:
    """What each process of the team does."""
    about = json.loads((job / "job.json").read_text())
    config = SequenceConfig(
        **{k: v for k, v in about["config"].items() if k in SequenceConfig.model_fields}
    )
    torch.set_num_threads(about["threads"])
    team = Accelerated(cpu=config.device == "cpu" or torch.cuda.device_count() < config.processes)
    network = NETWORKS[about["network"]](*about["made_by"])
    network.load_state_dict(load_file(job / "begin.safetensors"))
    data = np.load(job / "data.npz", allow_pickle=False)

    def part(name: str) -> Histories:
        fields = ("offsets", "items", "scores", "times", "whole")
        return Histories(*(data[f"{name} {field}"] for field in fields))

    validation = None
    if "asked offsets" in data:
        validation = Validation(part("asked"), part("targets"), about["repeats"])
    context = Context(folder=Path(about["folder"]), seed=about["seed"], threads=about["threads"])
    if team.rank == 0:
        context.progress = _Lines()
    trained = fit_next_item(
        network, part("histories"), config, context, validation, about["name"], team
    )
    if team.rank == 0:
        save_file(
            {k: v.contiguous() for k, v in trained.state.items()}, job / "trained.safetensors"
        )
        result = {"best_epoch": trained.best_epoch, "history": trained.history}
        (job / "trained.json").write_text(json.dumps(result))
    team.accelerator.end_training()


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
