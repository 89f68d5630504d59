"""One training whose towers are cut up among the processes: each keeps a share of every weight.

Torch's FSDP2 gathers the weights of a block when it is computed, and sends each process the mean
gradient of its share. Heads, log scales and biases stay whole, and are averaged by us. Checkpoints
are those of one process, so that a run can go on with another number of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from domainclip.model.clip import DomainClip
from domainclip.model.towers import blocks_of

from .processes import count_processes


class ShardedTowers(ModelParallelStrategy):
    """Lightning's strategy for models that are cut up, with checkpoints as without it."""

    def __init__(self) -> None:
        super().__init__(
            data_parallel_size=count_processes(),
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Let Lightning hand over the optimizer's state, like that of any run."""
        return True

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return a whole checkpoint, as each process reads it."""
        return self.checkpoint_io.load_checkpoint(
            checkpoint_path, map_location="cpu", weights_only=weights_only
        )

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's share of the weights."""
        assert self.model is not None
        options = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=options)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole state; all processes are to ask for it."""
        state: dict[str, Any] = tree_map(
            whole_on_cpu, getattr(optimizer, "_optimizer", optimizer).state_dict()
        )
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's share of the optimizer's state."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(saved)
            for parameter, state in optimizer.state.items():
                if isinstance(parameter, DTensor):
                    state.update({k: _share(v, parameter) for k, v in state.items()})


def shard_towers(model: DomainClip, mesh: DeviceMesh) -> None:
    """Cut the towers of a model up among the processes of a mesh, in place; once is enough.

    What open_clip's CLIP class holds itself stays whole: the parts below it are called, it is not.
    """
    if isinstance(model.clip.visual, FSDPModule):
        return
    for parameter in model.clip.parameters():  # channels-last weights cannot be cut up
        parameter.data = parameter.data.contiguous()
    scalars = {p for p in model.clip.parameters() if not p.ndim}
    for part in (*blocks_of(model), *model.clip.children()):
        fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)


def may_be_shards(name: str, parameter: nn.Parameter) -> bool:
    """Return whether a parameter of the model is cut up where the towers are."""
    return name.startswith("clip.") and name.count(".") > 1 and parameter.ndim > 0


def local_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor: its shard, or all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_on_cpu(value: Any) -> Any:
    """Return the whole of a tensor that is cut up; all processes are to ask for it."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.cpu() if isinstance(value, Tensor) else value


def _share(value: Any, parameter: DTensor) -> Any:
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value  # the count of steps
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(value.contiguous(), mesh, placements, src_data_rank=None)
