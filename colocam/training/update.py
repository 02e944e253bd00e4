"""Optimizer step: SGD that skips steps with non-finite gradients, decided on the device."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


class Update:
    """SGD with Nesterov momentum that skips a step if its gradient is not finite.

    The decision is made on the device: the fused optimizer takes it as a tensor. Batch statistics
    of a skipped step are restored too.

    Args:
        groups: (module, learning rate) of what is trained.
        momentum: momentum of all groups.
        weight_decay: weight decay of all groups.
        decay_every: epochs between decays of the learning rate.
        decay: factor of a decay.
        scaler: gradient scaler for float16; disabled in other precisions.

    Attributes:
        optimizer: torch's SGD.
        scheduler: its learning rate scheduler, stepped once per epoch.
        scaler: gradient scaler.
        parameters: all trained parameters.
        statistics: batch statistics of the modules.
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
            # The fused optimizer makes them in its first step, but not if that one is skipped.
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.statistics = [
            buffer
            for module, _ in groups
            for buffer in module.buffers()
            if buffer.is_floating_point()
        ]
        self._before = self._flat_statistics()

    def begin(self) -> None:
        """Stores the batch statistics; to be called before the forward pass of a step."""
        self._before = self._flat_statistics()

    def backward(self, loss: Tensor) -> None:
        """Accumulates the gradients of a scalar loss."""
        self.scaler.scale(loss).backward()

    @torch.no_grad()
    def step(self) -> Tensor:
        """Updates the weights with the accumulated gradients, and clears these.

        Returns:
            scalar bool on the device: whether the step was skipped.
        """
        self.scaler.unscale_(self.optimizer)
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        skipped = ~norm.isfinite()
        # As GradScaler does with a fused optimizer; the attribute is not declared.
        self.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._restore_statistics(skipped)
        return skipped

    def state(self) -> dict[str, Any]:
        """Returns the state dicts of scheduler and scaler. Momenta are stored as tensors."""
        return {"scheduler": self.scheduler.state_dict(), "scaler": self.scaler.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Loads the state dicts returned by `state`."""
        self.scheduler.load_state_dict(state["scheduler"])
        rates = self.scheduler.get_last_lr()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def _flat_statistics(self) -> Tensor | None:
        """Copies all batch statistics into one vector; None if there are none."""
        flat = [buffer.flatten() for buffer in self.statistics]
        return torch.cat(flat) if flat else None

    def _restore_statistics(self, skipped: Tensor) -> None:
        """Restores the batch statistics of `begin` if the step was skipped."""
        now = self._flat_statistics()
        if self._before is None or now is None:
            return
        kept = torch.where(skipped, self._before, now)
        parts = kept.split([buffer.numel() for buffer in self.statistics])
        torch._foreach_copy_(
            self.statistics,
            [part.view_as(b) for part, b in zip(parts, self.statistics, strict=True)],
        )


def nan_if_not_finite(loss: Tensor, outputs: Tensor) -> Tensor:
    """Returns the loss; if it or the outputs are not finite, all gradients of the outputs are NaN.

    A single check of the gradients, which all ranks share, then decides whether a step is valid.

    Args:
        loss: scalar.
        outputs: of the network, any shape; what the loss was computed from.
    """
    valid = loss.detach().isfinite() & outputs.detach().isfinite().all()
    return loss + (outputs * torch.where(valid, 0.0, torch.nan)).sum()
