"""VACE (Jiang et al. 2025, arXiv:2503.07598): Wan's transformer steered by a film, a mask and pictures.

Beside the transformer stands a short stack of its own blocks that walks over the control's tokens. After some blocks of
the transformer, what the stack has then come to is added: a hint. Parameter names are those of the files published with
Wan 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitascope.models.dit import Block, DiT, DiTConfig, embed_patches
from vitascope.models.layers import Linear, wide


@dataclass(frozen=True)
class VaceConfig(DiTConfig):
    """The sizes of a transformer with control; the 1.3B model is VaceConfig(width=1536, heads=12, layers=30, ffn=8960)."""

    vace_layers: tuple[int, ...] | None = None
    """After which blocks a hint is added, in rising order; None: after each second one, from the first on."""
    vace_channels: int = 96
    """Channels of the control: latents of what stays (16) and of what is made anew (16), and the mask (64)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        hinted = self.hinted
        if not hinted or hinted[0] != 0 or hinted[-1] >= self.layers or list(hinted) != sorted(set(hinted)):
            raise ValueError(
                f"VaceConfig: vace_layers must rise from 0 and stay below layers {self.layers}, got {self.vace_layers}"
            )

    @property
    def hinted(self) -> tuple[int, ...]:
        """The blocks after which a hint is added."""
        return tuple(range(0, self.layers, 2)) if self.vace_layers is None else self.vace_layers


class VaceBlock(Block):
    """A block of the control's stack: as one of the transformer's, and what it has come to is mapped to a hint."""

    def __init__(self, config: VaceConfig, first: bool) -> None:
        super().__init__(config)
        self.before_proj = Linear(config.width, config.width) if first else None
        self.after_proj = Linear(config.width, config.width)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (a block that answers twice)
        self,
        c: Tensor,
        x: Tensor | None,
        time: Tensor,
        context: Tensor,
        mask: Tensor | None,
        image: Tensor | None,
        rotary: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Control tokens c [b l d] to themselves and a hint, both [b l d]. The first block also reads the film's tokens x
        [b l d] as they are before the transformer's first block; the others are given None."""
        if self.before_proj is not None:
            assert x is not None
            c = wide(self.before_proj(c)) + x
        c = super().forward(c, time, context, mask, image, rotary)
        return c, self.after_proj(c)


class VaceDiT(DiT):
    """The transformer with hints from a control. See `forward`."""

    def __init__(self, config: VaceConfig) -> None:
        super().__init__(config)
        self.hinted = config.hinted
        self.vace_patch_embedding = nn.Conv3d(
            config.vace_channels, config.width, kernel_size=config.patch, stride=config.patch
        )
        self.vace_blocks = nn.ModuleList(VaceBlock(config, first=i == 0) for i in range(len(config.hinted)))
        if self.vace_patch_embedding.weight.device.type != "meta":
            self._initialise_control()

    @torch.no_grad()
    def _initialise_control(self) -> None:
        """The stack begins as a copy of the blocks that it gives hints to (section 3.3), and silent."""
        nn.init.xavier_uniform_(self.vace_patch_embedding.weight.flatten(1))
        assert self.vace_patch_embedding.bias is not None
        nn.init.zeros_(self.vace_patch_embedding.bias)
        for block, layer in zip(self.vace_blocks, self.hinted):
            assert isinstance(block, VaceBlock)
            block.load_state_dict(self.blocks[layer].state_dict(), strict=False)
            for linear in (block.before_proj, block.after_proj):
                if linear is not None:
                    nn.init.zeros_(linear.weight)
                    nn.init.zeros_(linear.bias)

    def forward(
        self,
        x: Tensor,
        clock: Tensor,
        *,
        context: Tensor,
        mask: Tensor | None = None,
        image: Tensor | None = None,
        concat: Tensor | None = None,
        vace: Tensor | None = None,
        vace_scale: Tensor | float = 1.0,
    ) -> Tensor:
        """As `DiT.forward`, under a control.

        vace        [b vace_channels t h w], on x's grid (`conditioning.vace` makes it); None: no hints, which leaves the
                    model of text alone
        vace_scale  how strong the hints are: a number, or a tensor [b], or [b n] with one for each of n hints

        Raises ValueError where shapes do not fit the config.
        """
        if vace is None:
            return super().forward(x, clock, context=context, mask=mask, image=image, concat=concat)
        expected = (x.shape[0], self.vace_patch_embedding.in_channels, *x.shape[2:])
        if vace.shape != expected:
            raise ValueError(f"vace: expected {list(expected)}, got {list(vace.shape)}")
        scales = self._scales(vace_scale, x)
        h, told, time, grid = self._begin(x, clock, context, mask, image, concat)
        c, before = embed_patches(vace, self.vace_patch_embedding), h
        # A hint is made when it is needed and not before: only one is ever held, where the 1.3B model has fifteen.
        turn = {layer: i for i, layer in enumerate(self.hinted)}
        for layer, block in enumerate(self.blocks):
            h = block(h, *told)
            if (i := turn.get(layer)) is not None:
                c, hint = self.vace_blocks[i](c, before if i == 0 else None, *told)
                h = torch.addcmul(h, wide(hint), scales[:, i, None, None])
        return self._end(h, time, grid)

    def _scales(self, scale: Tensor | float, x: Tensor) -> Tensor:
        """[b n], or [1 n] where all rows have the same."""
        scales = torch.as_tensor(scale, device=x.device).to(wide(x).dtype)
        count = len(self.vace_blocks)
        if scales.ndim < 2:
            scales = scales.reshape(-1, 1).expand(-1, count)
        if scales.ndim != 2 or scales.shape[0] not in (1, x.shape[0]) or scales.shape[1] != count:
            raise ValueError(
                f"vace_scale: expected a number, [{x.shape[0]}] or [{x.shape[0]} {count}], got {list(scales.shape)}"
            )
        return scales
