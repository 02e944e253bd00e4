"""From a loss to a step of the weights, without waiting for the device."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


class Update:
    """SGD with Nesterov momentum that leaves a step out where its gradient is not finite.

    Whether it is finite is decided on the device: the fused optimizer takes the answer as a
    tensor. Batch statistics of a step that is left out are taken back too.

    Args:
        groups: (module, learning rate) of what is trained.
        momentum, weight_decay: of all of them.
        decay_every: epochs between decays of the learning rate.
        decay: factor of a decay.
        scaler: of the loss, for float16; idle in other precisions.

    Attributes:
        optimizer, scheduler, scaler: torch's.
    """

    def __init__(
        self,
        groups: Iterable[tuple[nn.Module, float]],
        *,
        momentum: float,
        weight_decay: float,
        decay_every: int,
        decay: float,
        scaler: torch.amp.GradScaler,
    ) -> None:
        groups = list(groups)
        self.optimizer = torch.optim.SGD(
            [{"params": list(module.parameters()), "lr": lr} for module, lr in groups],
            momentum=momentum,
            nesterov=True,
            weight_decay=weight_decay,
            fused=True,
        )
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, decay_every, decay)
        self.scaler = scaler
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for parameter in self.parameters:
            # The fused step would fill them at its first call, and not if that is left out.
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.statistics = [
            buffer
            for module, _ in groups
            for buffer in module.buffers()
            if buffer.is_floating_point()
        ]
        self.before = self._statistics()

    def begin(self) -> None:
        """Before the forward pass: remembers the batch statistics."""
        self.before = self._statistics()

    def backward(self, loss: Tensor) -> None:
        """Adds the loss's gradients to those of the step."""
        self.scaler.scale(loss).backward()

    @torch.no_grad()
    def step(self) -> Tensor:
        """Moves the weights by the gradients gathered, and drops these.

        Returns:
            scalar bool on the device: the step was left out.
        """
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        left_out = ~norm.isfinite()
        self.optimizer.found_inf = left_out.float()  # what a GradScaler hands to a fused optimizer
        self.optimizer.step()
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._take_back(left_out)
        return left_out

    def state(self) -> dict[str, Any]:
        """Scheduler and scaler, as torch describes them; momenta are tensors, kept elsewhere."""
        return {"scheduler": self.scheduler.state_dict(), "scaler": self.scaler.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Takes what `state` gave."""
        self.scheduler.load_state_dict(state["scheduler"])
        rates = self.scheduler.get_last_lr()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def _statistics(self) -> Tensor | None:
        flat = [buffer.flatten() for buffer in self.statistics]
        return torch.cat(flat) if flat else None

    def _take_back(self, left_out: Tensor) -> None:
        if self.before is None:
            return
        kept = torch.where(left_out, self.before, self._statistics())
        parts = kept.split([buffer.numel() for buffer in self.statistics])
        torch._foreach_copy_(
            self.statistics,
            [part.view_as(b) for part, b in zip(parts, self.statistics, strict=True)],
        )


def poisoned(loss: Tensor, outputs: Tensor) -> Tensor:
    """The loss; where it or the outputs are not finite, all gradients of the outputs become NaN.

    So that one look at the gradients, which all ranks share, tells whether a step is sound.

    Args:
        loss: scalar.
        outputs: of the network, any shape; what the loss was computed from.
    """
    sound = loss.detach().isfinite() & outputs.detach().isfinite().all()
    return loss + (outputs * torch.where(sound, 0.0, torch.nan)).sum()
