"""Weights, gradients and the optimiser's averages divided among the processes of a team (PyTorch FSDP2).

Each process holds its share of every tensor. A layer's weights are gathered when it is run, and let go
behind it; what stands outside the layers (word vectors, head) is gathered for as long as a loss is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.utils._pytree import tree_leaves, tree_map

from linkwise.errors import UsageError
from linkwise.lm.packing import layers_of, pass_depth, stopped
from linkwise.lm.team import Team

if TYPE_CHECKING:
    from linkwise.lm.fit import Loss

T = TypeVar("T")


class _Unit(nn.Module):
    """What FSDP is put on in place of a layer: it leaves its class and hooks on a module for good."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer makes of it."""
        return self.layer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # networks ask their layers of what kind they are
            return getattr(super().__getattr__("layer"), name)


class _Root(nn.Module):
    """A whole computation on a network: what stands outside the layers is gathered while it lasts.

    Losses read a head's weights, and run networks from the middle or to it; none begins at one module.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, work: Callable[[], T]) -> T:
        """What `work()` gives."""
        return work()


class Shards:
    """A network, divided in place among the processes of a team until `gather`.

    Whatever runs it goes through `run` or `loss`, in every process the same number of times. Within them
    processes may run the network as often as they like: a layer's weights are gathered from all processes at
    once, so that a process meets the others before every pass, and stands in with one token for a pass that
    only others have. `trained` are its shares of the parameters that require gradients, by their names;
    `used` the names of those that `loss` has given gradients, in this process. After an error the network
    stays divided.

    Raises `UsageError` where the network has no layers to be gathered one by one.
    """

    def __init__(self, network: nn.Module, team: Team, *, bfloat16: bool = False) -> None:
        from transformers import PreTrainedModel

        self.network, self.team = network, team
        whole = next((m for m in network.modules() if isinstance(m, PreTrainedModel)), None)
        self.layers = nn.ModuleList() if whole is None else layers_of(whole.base_model)
        if whole is None or not len(self.layers):
            raise UsageError(
                f"{type(network).__name__}: this network has no layers of a language model that --shard "
                "could gather one by one; train it without --shard."
            )
        self.body: Any = whole.base_model
        self.used: set[str] = set()
        self._ends: list[Any] = []
        self._standing_in = False
        self._home = next(network.parameters()).device
        # Where parameters stand; one that is shared stands in several places, and is named after the first.
        self._places = [
            (f"{path}.{name}".removeprefix("."), module, name, own)
            for path, module in network.named_modules()
            for name, own in module.named_parameters(recurse=False)
        ]
        self._mesh = init_device_mesh(team.device.type, (team.size,))
        policy = MixedPrecisionPolicy()
        if bfloat16:
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)

        def divide(unit: nn.Module) -> Any:
            whole = [p for p in unit.parameters() if not isinstance(p, DTensor)]
            found = fully_shard(unit, mesh=self._mesh, mp_policy=policy)
            for own in whole:  # shares are copies, and a device may have no room for all layers
                own.data = own.data.new_empty(0)
            return found

        for number, layer in enumerate(self.layers):
            self.layers[number] = divide(_Unit(layer))
        self.root: Any = divide(_Root(network))
        # A parameter may have a gradient in one process and none in another: zeros take its place.
        self.root.set_reduce_scatter_unused_params(True)
        units: list[Any] = [self.root, *self.layers]
        for unit in units:  # gradients are summed, as in a team without shards
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
            unit.register_forward_pre_hook(self._watch)
        units[1].register_forward_pre_hook(self._begin, prepend=True, with_kwargs=True)
        for number, unit in enumerate(self.layers):
            unit.register_forward_hook(partial(self._end, number + 1))
        named = {id(own): name for name, _, _, own in reversed(self._places)}
        self.trained: dict[str, Any] = {
            name: getattr(module, of)
            for name, module, of, own in self._places
            if own.requires_grad and named[id(own)] == name
        }
        self._unwatched = {
            (id(module), of): named[id(own)]
            for _, module, of, own in self._places
            if own.requires_grad
        }

    def run(self, work: Callable[[], T]) -> T:
        """What `work()` gives."""

        def met() -> T:
            found = work()
            self._meet(0)
            return found

        found: T = self.root(met)
        self._ends = []
        self.root.reshard()
        return found

    def loss(self, work: Callable[[], Loss]) -> Loss:
        """A loss, to whose total every pass belongs, those of other processes with nothing.

        So the passes back are the same in every process, too.
        """

        def tied() -> Loss:
            found = work()
            self._meet(0)
            ends, self._ends = self._ends, []
            # Of each row the first token, which is never padding.
            nothing = sum(0 * end[:, 0].float().sum() for end in ends)
            return found._replace(total=found.total + nothing)

        found: Loss = self.root(tied)
        if not found.total.requires_grad:
            # Only the way back lets go of what stands outside the layers: it would be old after an update.
            self.root.reshard()
        return found

    def whole(self, value: Any) -> Any:
        """Lists and dictionaries with every share in them made whole, on the CPU.

        Every process has to ask, and the first gets it; the others get None.
        """
        first = self.team.rank == 0

        def gathered(part: Any) -> Any:
            if not isinstance(part, DTensor):
                return part
            found = cast(DTensor, part.detach()).full_tensor()
            return found.cpu() if first else None

        found = tree_map(gathered, value)
        return found if first else None

    def like(self, p: Any, own: Any) -> Any:
        """A share of this process as one of a tensor that is divided as `p` is."""
        return DTensor.from_local(
            own.to(p.device), self._mesh, p.placements, shape=p.shape, stride=p.stride()
        )

    def share(self, value: Any) -> Any:
        """What the first process has, as `whole` gave it, with shares of its tensors in every process."""
        outline = self.team.shared(tree_map(_outline, value))
        whole = iter(tree_leaves(value) if self.team.rank == 0 else ())

        def divided(part: Any) -> Any:
            given = next(whole, None)
            if not isinstance(part, torch.Tensor) or part.device.type != "meta":
                return part
            if given is None:
                given = torch.empty_like(part, device=self.team.device)
            return distribute_tensor(given.to(self.team.device), self._mesh, [Shard(0)])

        return tree_map(divided, outline)

    def gather(self) -> None:
        """Put the network together again in every process, where it was before it was divided."""
        found: dict[int, Any] = {}
        for _, module, of, own in self._places:
            part = getattr(module, of)
            if id(part) not in found:
                found[id(part)] = part.detach().full_tensor().to(self._home)
            own.data = found[id(part)]
        for _, module, of, own in self._places:
            setattr(module, of, own)
        for number, unit in enumerate(self.layers):
            self.layers[number] = unit.layer
        self.network.to(self._home)  # buffers

    # ------------------------------------------------------------------------------------------------ hooks

    def _begin(self, _unit: Any, args: Any, kwargs: Any) -> Any:
        """Before the first layer: the other processes are met."""
        if not self._standing_in:
            self._meet(pass_depth() or len(self.layers))
        state, *others = args
        if torch.is_grad_enabled() and not state.requires_grad:
            # Frozen word vectors: the way back is to end at the same layer in every process.
            state = state.detach().requires_grad_()
        return (state, *others), kwargs

    def _end(self, number: int, _unit: Any, _args: Any, output: Any) -> None:
        """Behind a layer: what a pass ends with is kept."""
        if torch.is_grad_enabled() and number == (pass_depth() or len(self.layers)):
            self._ends.append(output[0] if isinstance(output, tuple) else output)

    def _watch(self, unit: nn.Module, _args: Any) -> None:
        """Where weights are gathered: those that are trained are to say when they get a gradient."""
        if not self._unwatched:
            return
        for module in unit.modules():
            parameters: Any = module.named_parameters(recurse=False)
            for of, p in parameters:
                if not isinstance(p, DTensor) and (id(module), of) in self._unwatched:
                    name = self._unwatched.pop((id(module), of))
                    p.register_post_accumulate_grad_hook(lambda _, name=name: self.used.add(name))

    def _meet(self, depth: int) -> None:
        """Wait for the others before a pass through so many layers; 0: there is none any more.

        The deepest that anyone wants is run first, by the others on one token.
        """
        while (agreed := int(self.team.most([depth])[0])) != depth:
            self._stand_in(agreed)

    def _stand_in(self, depth: int) -> None:
        device = self.team.device
        token = torch.zeros((1, 1), dtype=torch.long, device=device)
        self._standing_in = True
        # Dropout of this process's own passes is not to depend on the others'.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            stopped(
                self.body,
                depth,
                lambda: self.body(input_ids=token, attention_mask=torch.ones_like(token)),
            )
        self._standing_in = False


def _outline(part: Any) -> Any:
    """A tensor without its numbers, unless it is one number."""
    return part.to("meta") if isinstance(part, torch.Tensor) and part.dim() else part
