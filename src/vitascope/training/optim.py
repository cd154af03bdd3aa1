"""How weights are moved: Muon for hidden matrices, AdamW for the rest, one learning-rate curve, an averaged copy.

Master weights are float32 throughout; bf16 lives inside the forward pass only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from vitascope.errors import BadRun
from vitascope.recipe import StageSettings
from vitascope.training.muon import Muon

HIDDEN = ("blocks.", "downsamples.", "middle.", "upsamples.", "resblocks.")
"""What the names of weights between hidden states hold, in our networks."""


def learning_rate(step: int, settings: StageSettings) -> float:
    """The factor on every learning rate at `step` (counted from 0): a linear warm-up, then a fall to `final`.

    `cosine` falls along half a cosine from the end of the warm-up; `linear` stays at 1 until `1 - cooldown` of the run is
    done and falls in a straight line (warm-up, stable, decay: Hägele et al. 2024, arXiv:2405.18392).
    """
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    if settings.decay == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    else:
        fall = min(1.0, max(0.0, (1 - done) / settings.cooldown))
    return settings.final + (1 - settings.final) * fall


class Optimizer:
    """The optimisers of one model, and their state as named tensors, so that a checkpoint needs no pickle."""

    def __init__(self, model: nn.Module, settings: StageSettings) -> None:
        self.settings = settings
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        hidden = [(n, p) for n, p in named if settings.optimizer == "muon" and _is_hidden(n, p)]
        chosen = {n for n, _ in hidden}
        rest = [(n, p) for n, p in named if n not in chosen]
        matrices = [p for _, p in rest if p.ndim >= 2]
        vectors = [p for _, p in rest if p.ndim < 2]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [
                    {"params": matrices, "weight_decay": settings.weight_decay},
                    {"params": vectors, "weight_decay": 0.0},
                ],
                lr=settings.lr,
                betas=settings.betas,
                foreach=True,
            )
        ]
        if hidden:
            self.parts.append(Muon([p for _, p in hidden], settings.muon_lr, settings.weight_decay))
        self.base = [[group["lr"] for group in part.param_groups] for part in self.parts]
        self.names = {id(p): n for n, p in named}

    def step(self, step: int) -> float:
        """Apply the gradients at `step`; returns the factor on the learning rate that was used."""
        factor = learning_rate(step, self.settings)
        for part, rates in zip(self.parts, self.base, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            part.step()
            part.zero_grad(set_to_none=True)
        return factor

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the optimisers remember, named `<parameter>/<slot>`."""
        found: dict[str, Tensor] = {}
        for part in self.parts:
            for parameter, slots in part.state.items():
                for slot, value in slots.items():
                    found[f"{self.names[id(parameter)]}/{slot}"] = torch.as_tensor(value)
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave, where each parameter is. Raises BadRun for the state of another optimiser."""
        slots: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            parameter, slot = name.rsplit("/", 1)
            slots.setdefault(parameter, {})[slot] = value.clone()
        for part in self.parts:
            for parameter in (p for group in part.param_groups for p in group["params"]):
                name = self.names[id(parameter)]
                remembered = slots.get(name)
                if remembered is None:
                    continue
                if ("momentum" in remembered) != isinstance(part, Muon):
                    raise BadRun(
                        f"the checkpoint's memory of {name} is that of another optimiser; set the recipe's optimizer back, "
                        "or delete the stage's checkpoint to start it anew."
                    )
                # AdamW counts its steps on the CPU, wherever its parameters are.
                part.state[parameter] = {k: v if v.ndim == 0 else v.to(parameter.device) for k, v in remembered.items()}


def _is_hidden(name: str, parameter: Tensor) -> bool:
    # To orthogonalise an update means something for a map between hidden states, not for a table of embeddings or for the
    # maps from and to pixels, latents and words, whose inputs and outputs have scales of their own.
    return parameter.ndim >= 2 and min(parameter.flatten(1).shape) > 1 and any(part in name for part in HIDDEN)


class Average:
    """An exponential moving average of weights, which is what gets shipped; early on it forgets faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights after `step` updates."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = [], []
        for name, p in model.named_parameters():
            if name in self.weights:
                mine.append(self.weights[name])
                theirs.append(p.detach())
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Write the average into a model of the same shape."""
        for name, p in model.named_parameters():
            if name in self.weights:
                p.copy_(self.weights[name])

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Put back saved averages."""
        for name, value in weights.items():
            self.weights[name].copy_(value)


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale all gradients so that their joint norm is at most `limit`; returns the norm before."""
    return float(nn.utils.clip_grad_norm_(list(parameters), limit, foreach=True))


def trainable(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that training moves."""
    return (p for p in model.parameters() if p.requires_grad)
