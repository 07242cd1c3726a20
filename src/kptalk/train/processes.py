"""The processes of one training: this one alone, or those that ``accelerate launch`` started, with accelerate.

Without accelerate one process trains all the same, to the same bits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from kptalk.device import pick_device
from kptalk.errors import MissingExtra


class Processes:
    """This process alone.

    Attributes:
        count, rank: how many processes there are, and which of them this is.
        device: that it computes on.
    """

    def __init__(self, device: torch.device) -> None:
        self.count, self.rank, self.device = 1, 0, device

    @property
    def main(self) -> bool:
        """Whether this process scores, writes and tells."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module on the device; with several processes its gradients are averaged over them."""
        return module.to(self.device)

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss."""
        torch.autograd.backward(loss)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Within it, gradients of a wrapped module are added up without being averaged over the processes."""
        return nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        return values

    def wait(self) -> None:
        """Until all processes are here."""

    def main_first(self) -> AbstractContextManager[Any]:
        """Within it, the main process goes first, for what all of them would write."""
        return nullcontext()


class AcceleratedProcesses(Processes):
    """Those that a launcher started, or this one: by accelerate."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.count, self.rank = accelerator.num_processes, accelerator.process_index
        self.device = accelerator.device

    def wrap(self, module: nn.Module) -> nn.Module:
        wrapped: nn.Module = self._accelerator.prepare_model(module)
        return wrapped

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._accelerator.no_sync(module)
        return context

    def mean(self, values: Tensor) -> Tensor:
        mean: Tensor = self._accelerator.reduce(values, "mean")
        return mean

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def main_first(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._accelerator.main_process_first()
        return context


def open_processes(device: str = "auto") -> Processes:
    """The processes of this training; ``device`` as in ``kptalk.device``, each process takes its own card.

    Raises:
        OptionError: there is no such device.
        MissingExtra: a launcher started several processes, and accelerate is not installed.
    """
    chosen = pick_device(device)
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError as error:
        if torch.distributed.is_torchelastic_launched():
            raise MissingExtra(
                "training with several processes needs accelerate: pip install 'kptalk[train]'"
            ) from error
        return Processes(chosen)
    # The denoiser has a normalisation that no forward pass uses (the checkpoint of the paper holds it).
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=chosen.type == "cpu", mixed_precision="no", kwargs_handlers=[unused])
    return AcceleratedProcesses(accelerator)
