"""How several processes train one model: DDP, and FSDP for models whose training does not fit on one device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.precision import FSDPPrecision
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision
from torch.optim import Optimizer

from limner import launchers


def chosen(name: str, *, precision: str, trains: bool) -> Strategy:
    """The strategy of a run on several processes.

    Args:
        name: auto, ddp or fsdp (the config's `trainer.strategy`).
        precision: the config's `trainer.precision`.
        trains: False for an evaluation, which has no gradients and no optimiser to divide.
    """
    if name == "fsdp" and trains:
        return Sharded(precision)
    # what a stage does not train is frozen: nobody need look for parameters without gradients; and no buffer changes
    return Alike(find_unused_parameters=False, gradient_as_bucket_view=True, broadcast_buffers=False)


class Alike(DDPStrategy):
    """DDP, whose processes find each other also when torchrun has started them anew."""

    def setup_environment(self) -> None:
        launchers.join(self._get_process_group_backend())
        super().setup_environment()


class Sharded(FSDPStrategy):
    """FSDP: gradients and optimiser state are divided among the processes, weights while they rest.

    The task is one unit, whose weights are gathered for a step: any model works under it, with hand-written gradients
    and with words that two layers share. Checkpoints hold whole tensors as those of DDP do, and either goes on from the
    other's.

    Args:
        precision: 32-true, bf16-mixed or 16-mixed. Gradients are added up in 32 bits, as under DDP.
    """

    def __init__(self, precision: Any):
        super().__init__(precision_plugin=ShardedPrecision(precision), mixed_precision=MixedPrecision())
        self._shapes: dict[str, torch.Size] = {}
        """whole shapes of the task's parameters"""
        self._names: list[list[str]] = []
        """names of each optimiser's parameters, in the order in which checkpoints number them"""

    def setup_environment(self) -> None:
        launchers.join(self._get_process_group_backend())
        super().setup_environment()

    def _setup_model(self, model: nn.Module) -> nn.Module:
        """Lightning's, also for processors, and for single numbers, which cannot be divided: they are averaged."""
        model = model.to(self.root_device)
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        order = {module: list(module._parameters) for module in model.modules()}
        single = [parameter for parameter in model.parameters() if parameter.dim() == 0]
        for parameter in single:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(average)
        wrapped = FullyShardedDataParallel(
            model,
            sharding_strategy=self.sharding_strategy,
            mixed_precision=self.mixed_precision_config,
            device_id=self.root_device,
            ignored_states=single,
            **self.kwargs,
        )
        for module, names in order.items():  # FSDP puts what it divides last: optimisers would number otherwise
            for name in names:
                module._parameters[name] = module._parameters.pop(name)
        plugin = self.precision_plugin
        assert isinstance(plugin, ShardedPrecision)
        plugin.root, plugin.device = wrapped, self.root_device.type
        return wrapped

    def setup_optimizers(self, trainer: Any) -> None:
        super().setup_optimizers(trainer)
        assert self.lightning_module is not None
        known = {id(parameter): name for name, parameter in self.lightning_module.named_parameters()}
        self._names = [[known[id(p)] for group in one.param_groups for p in group["params"]] for one in self.optimizers]

    # --- checkpoints hold whole tensors; on processors FSDP's own functions give memory that is used again ---

    @contextmanager
    def whole(self, *, write: bool = False) -> Iterator[nn.Module]:
        """The task with its whole weights, on every process; `write`: what is changed is kept."""
        assert self.model is not None
        assert self.lightning_module is not None
        with FullyShardedDataParallel.summon_full_params(self.model, writeback=write):
            yield self.lightning_module

    def lightning_module_state_dict(self) -> dict[str, Any]:
        with self.whole() as task:
            if not self.is_global_zero:
                return {}
            return {name: tensor.detach().to("cpu", copy=True) for name, tensor in task.state_dict().items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """An ordinary state dict on the first process; the processes hold a parameter's parts one behind the other."""
        mine = optimizer.state_dict()
        mine["state"] = {k: {n: cpu(value) for n, value in state.items()} for k, state in mine["state"].items()}
        parts: list[Any] = [None] * self.world_size
        dist.gather_object(mine["state"], parts if self.is_global_zero else None, group=self.processors)
        if not self.is_global_zero:
            return {}
        whole: dict[int, dict[str, Any]] = {}
        for number, name in enumerate(self._names[self.optimizers.index(optimizer)]):
            states = [part[number] for part in parts if number in part]  # none where nothing of a parameter lies
            if states:
                whole[number] = {key: joined([s[key] for s in states], self._shapes[name]) for key in states[0]}
        return {**mine, "state": whole}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint = self.checkpoint_io.load_checkpoint(checkpoint_path)
        with self.whole(write=True) as task:
            task.load_state_dict(checkpoint["state_dict"])
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"]):
            sizes: list[Any] = [None] * self.world_size
            own = [p.numel() for group in optimizer.param_groups for p in group["params"]]
            dist.all_gather_object(sizes, own, group=self.processors)
            begins = [sum(one[k] for one in sizes[: self.global_rank]) for k in range(len(own))]
            state = {
                k: {key: part(value, begins[k], own[k]) for key, value in values.items()}
                for k, values in saved["state"].items()
                if own[k]
            }
            optimizer.load_state_dict({**saved, "state": state})
        return checkpoint

    @cached_property
    def processors(self) -> Any:
        """The processes through gloo: what is gathered for a checkpoint takes no room on a GPU."""
        return dist.new_group(backend="gloo")


def cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def joined(values: list[Any], shape: torch.Size) -> Any:
    """A value of an optimiser's state from the processes' parts; what is no vector stands on each of them alike."""
    first = values[0]
    return torch.cat(values).view(shape) if isinstance(first, Tensor) and first.dim() == 1 and shape else first


def part(value: Any, begin: int, size: int) -> Any:
    """A process's part of a whole value."""
    return value.flatten()[begin : begin + size].clone() if isinstance(value, Tensor) and value.dim() else value


def average(parameter: Tensor) -> None:
    """Makes a gradient the mean over processes; what was averaged already stays, so that gradients may accumulate."""
    assert parameter.grad is not None
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


class ShardedPrecision(FSDPPrecision):
    """Autocast as it is without FSDP: Lightning's is for GPUs only, turns every input to 32 bits, and cannot clip."""

    root: FullyShardedDataParallel
    device: str

    def forward_context(self) -> Any:
        low = torch.float16 if self.precision == "16-mixed" else torch.bfloat16
        return torch.autocast(self.device, dtype=low, cache_enabled=False, enabled="mixed" in self.precision)

    def convert_input(self, data: Any) -> Any:
        return data

    def convert_output(self, data: Any) -> Any:
        return data

    def clip_grad_by_norm(self, optimizer: Optimizer, clip_val: int | float) -> None:
        self.root.clip_grad_norm_(clip_val)  # the norm over all processes' parts
