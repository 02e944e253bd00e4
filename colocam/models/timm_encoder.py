"""Encoders from timm (extra `timm`): any of its models that gives feature maps, `timm:NAME`."""

import importlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from colocam.models.base import Encoder
from colocam.models.dilation import displacements, halve_dilation, moved_back
from colocam.runtime.errors import UserError

PREFIX, HALF = "timm:", ":half"
LITE = "tf_efficientnet_lite0"  # the one whose weights are a package (extra `lite`)
_OUTPUT_STRIDE = 8
_MOST_MAPS = 5  # of a model with more blocks than that, as a transformer, four are taken
_SIDE = 224  # of the trial pass
_DISPLACEMENTS: dict[str, tuple[float, ...]] = {}  # by model: they follow from its layers alone

# In order of preference: output stride 8; a transformer for frames of any size; the defaults.
_ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"output_stride": _OUTPUT_STRIDE},
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)


class TimmEncoder(Encoder):
    """A timm model: at output stride 8 where it has that option, else at its own strides.

    Maps are those of timm's `forward_intermediates`. Of a convolutional network all levels are
    returned (five at most); of a vision transformer the outputs of four blocks at equal distances,
    all of one size, normalized by its last layer norm if it has one before the pooling. The last
    map is what the model's own classifier pools: where the network ends with a convolution that
    widens a linear bottleneck (EfficientNet's `conv_head`), the map after it follows as one more
    map, for head and CAM only. Maps that dilation displaces are moved back, see `dilation`.

    Args:
        name: timm's name of the model. With ":half" appended, the layers at output stride 8 have
            half of the dilation that would keep their receptive field: objects look twice as large
            to them, which suits objects that are small in the frame.

    Raises:
        UserError: timm is not installed, or has no such model, or the model has no feature maps, or
            its dilation cannot be halved.
    """

    backbone: Any  # a timm model; timm has no common type of those with intermediate maps

    def __init__(self, name: str) -> None:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller's mode is
            self._init(name)

    def _init(self, name: str) -> None:
        half, name = name.endswith(HALF), name.removesuffix(HALF)
        backbone, dilated = _create(name)
        config = backbone.pretrained_cfg
        super().__init__(config["mean"], config["std"])
        self.name, self.backbone = name, backbone
        classifier = config.get("classifier") or ()
        names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        self.skipped = tuple(f"{layer}." for layer in names)
        self.levels = _levels(backbone.feature_info)
        self.displacements = (0.0,) * len(self.levels)
        with _called_modules(backbone) as called:
            maps = self._trial(_SIDE, f"--encoder {PREFIX}{name}: gives no feature maps")
        self.unused = _without_gradient(backbone, maps[-1])
        # Layers after the pooling, as in MobileNetV3, whose weights are not loaded either.
        for module in _removed(backbone, called, self.unused):
            self.skipped += (f"{module}.",)
        self.channels = tuple(level.shape[1] for level in maps)
        self.strides = tuple(max(1, round(_SIDE / level.shape[-1])) for level in maps)
        self.decoder_maps = len(self.levels)
        if dilated:
            if name not in _DISPLACEMENTS:
                _DISPLACEMENTS[name] = self._measured_displacements()
            self.displacements = _DISPLACEMENTS[name]
        if half:
            if not dilated or not halve_dilation(self.backbone):
                raise UserError(
                    f"--encoder {PREFIX}{name}{HALF}: has no dilation that can be halved; "
                    f"omit {HALF}"
                )
            self.displacements = tuple(cells / 2 for cells in self.displacements)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalized frames (B, 3, H, W) to maps (B, C_k, H_k, W_k), shallow to deep."""
        final, maps = self.backbone.forward_intermediates(images, indices=self.levels, norm=True)
        if final.dim() == 3:  # (B, tokens, C): class and register tokens come first
            patches = final[:, self.backbone.num_prefix_tokens :]
            final = patches.transpose(1, 2).unflatten(2, maps[-1].shape[2:])
        elif final.shape[1] != self.backbone.num_features:  # (B, h, w, C)
            final = final.permute(0, 3, 1, 2)
        if final.shape[1] == maps[-1].shape[1]:
            maps = maps[:-1]
        # The network's last map has the displacement of the last level.
        moved = [*map(moved_back, maps, self.displacements[: len(maps)])]
        return [*moved, moved_back(final, self.displacements[-1])]

    @torch.no_grad()
    def _measured_displacements(self) -> tuple[float, ...]:
        """Compares the maps with those of the network at its own strides, of the same weights."""
        generator = torch.Generator().manual_seed(0)
        frame = torch.randn(1, 3, _SIDE, _SIDE, generator=generator)
        with torch.random.fork_rng(devices=[]):
            original = _import_timm(self.name).create_model(self.name, num_classes=0)
        training = self.training
        original.load_state_dict(self.backbone.state_dict(), strict=False, assign=True)
        networks = (self.backbone.eval(), original.eval())
        dilated, strided = (
            network.forward_intermediates(frame, indices=self.levels, intermediates_only=True)
            for network in networks
        )
        self.train(training)
        return displacements(dilated, strided)

    def last_block(self) -> list[nn.Module]:
        """Returns the last block of the last stage, and the layers that follow it."""
        children = self._used_children(self.backbone)
        stages = [
            number
            for number, child in enumerate(children)
            if isinstance(child, nn.Sequential | nn.ModuleList)
        ]
        if not stages:
            return children[-1:]
        last, after = children[stages[-1]], children[stages[-1] + 1 :]
        return [*self._used_children(last)[-1:], *after]

    def _used_children(self, module: nn.Module) -> list[nn.Module]:
        """Children with a parameter that the last map depends on."""
        parameters = dict(self.backbone.named_parameters())
        unused = {parameters[name] for name in self.unused if name in parameters}
        return [child for child in module.children() if {*child.parameters()} - unused]

    def freeze_unused(self) -> None:
        """Freezes parameters that the last map does not depend on."""
        for name, parameter in self.backbone.named_parameters():
            if name in self.unused:
                parameter.requires_grad_(False)

    def with_sync_batch_norm(self) -> Encoder:
        """Returns the encoder with batch statistics over all processes."""
        # Not torch's function: timm's batch norms contain the activation.
        layers = importlib.import_module("timm.layers")
        self.backbone = layers.convert_sync_batchnorm(self.backbone)
        return self

    def load_backbone(self, state: dict[str, Tensor]) -> None:
        """Loads a state dict in timm's names, except the classifier."""
        self.backbone.load_state_dict(
            {name: value for name, value in state.items() if not name.startswith(self.skipped)}
        )

    def check_side(self, side: int) -> None:
        """Checks that the model can process frames of a side; see `Encoder.check_side`."""
        with torch.no_grad():
            self._trial(
                side, f"--crop {side}: {PREFIX}{self.name} cannot process frames of this size"
            )

    def _trial(self, side: int, failure: str) -> list[Tensor]:
        """Maps of a black frame; an error has the text `failure` and the model's own."""
        training = self.training
        self.eval()
        try:
            # Not self(...), which may be compiled.
            return self.forward(torch.zeros(1, 3, side, side, device=self.mean.device))
        except Exception as error:  # of any type
            raise UserError(f"{failure} ({error})") from error
        finally:
            self.train(training)


@contextmanager
def _called_modules(backbone: nn.Module) -> Iterator[set[nn.Module]]:
    """Collects the submodules that are called within the context."""
    called: set[nn.Module] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, _: called.add(module))
        for module in backbone.modules()
    ]
    yield called
    for hook in hooks:
        hook.remove()


def _without_gradient(backbone: nn.Module, last: Tensor) -> set[str]:
    """Names of the parameters that the last map does not depend on."""
    names, parameters = zip(*backbone.named_parameters(), strict=True)
    gradients = torch.autograd.grad(last.sum(), parameters, allow_unused=True)
    return {name for name, grad in zip(names, gradients, strict=True) if grad is None}


def _removed(backbone: nn.Module, called: set[nn.Module], unused: set[str]) -> list[str]:
    """Replaces submodules that were not called and are unused; returns their names.

    A module that was not called may still be used: some blocks use the weights of a layer.
    """
    names = []
    for name, module in [*backbone.named_modules()]:
        own = {f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)}
        if name and own and module not in called and own <= unused:
            names.append(name)
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, nn.Identity())
    return names


def _create(name: str) -> tuple[Any, bool]:
    """Creates timm's model without its classifier, with random weights.

    Returns:
        The model, and whether strides of it may be replaced by dilation.
    """
    timm = _import_timm(name)
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('.')[0]}*")[:5])
        hint = f"; similar: {near}" if near else "; timm.list_models() lists them"
        raise UserError(f"--encoder {PREFIX}{name}: timm has no such model{hint}")
    errors = []
    for arguments in _ARGUMENTS:
        try:
            model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
        except (TypeError, NotImplementedError, RuntimeError, AssertionError) as error:
            errors.append(error)
        else:
            break
    else:
        raise UserError(f"--encoder {PREFIX}{name}: cannot be created ({errors[-1]})")
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "feature_info"):
        raise UserError(f"--encoder {PREFIX}{name}: gives no feature maps; choose another model")
    return model, "output_stride" in arguments


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        extra = "lite" if name == LITE else "timm"
        raise UserError(
            f"--encoder {PREFIX}{name}: needs timm; pip install 'colocam[{extra}]'"
        ) from error
    return timm


def timm_name(name: str) -> str:
    """Returns timm's own name of the model of an encoder."""
    return name.removeprefix(PREFIX).removesuffix(HALF)


def _levels(feature_info: Sequence[Any]) -> list[int]:
    """Indices of the maps to take: all, or the outputs of four blocks at equal distances."""
    count = len(feature_info)
    if count <= _MOST_MAPS:
        return list(range(count))
    return [math.ceil(count * quarter / 4) - 1 for quarter in (1, 2, 3, 4)]
