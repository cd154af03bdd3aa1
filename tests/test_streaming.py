"""Weights that come and go: the same sums, bit for bit, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from vitascope.errors import BadModel
from vitascope.models.dit import Block, DiT, DiTConfig
from vitascope.models.layers import Linear
from vitascope.models.outline import outlined
from vitascope.streaming import Streamed, _Slot, _Source, held, visiting

CONFIG = DiTConfig(width=48, heads=2, layers=4, ffn=96, text_width=24, freq_width=16)


class Hinted(DiT):
    """As VACE: further blocks, which run before and between the others, the first of them larger."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        self.vace_blocks = nn.ModuleList(Hint(config, first) for first in (True, False))

    def forward(self, x: Tensor, clock: Tensor, *, context: Tensor, **rest: Tensor) -> Tensor:
        for block in self.vace_blocks:
            x = x + block(x)
        return super().forward(x, clock, context=context, **rest)  # type: ignore[arg-type]


class Hint(nn.Module):
    def __init__(self, config: DiTConfig, first: bool) -> None:
        super().__init__()
        self.inner = Block(config)
        self.after_proj = Linear(16, 16)
        self.before_proj = Linear(16, 16) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after_proj(self.before_proj(x.movedim(1, -1))).movedim(-1, 1)


class Listening(Mapping[str, Tensor]):
    """Weights that tell what was asked of them."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.asked.append(name)
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def resident(kind: type[DiT] = DiT, dtype: torch.dtype = torch.float32) -> DiT:
    torch.manual_seed(0)
    model = kind(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    return model.to(dtype).eval()


def empty(kind: type[DiT] = DiT) -> DiT:
    with torch.device("meta"):
        return kind(CONFIG).eval()


@torch.no_grad()
def asked(model: nn.Module) -> Tensor:
    torch.manual_seed(1)
    x, context = torch.randn(2, 16, 2, 4, 6), torch.randn(2, 5, 24)
    return model(x, torch.tensor([3.0, 900.0]), context=context)


@pytest.mark.parametrize("kind", [DiT, Hinted])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_streamed_is_resident_bit_for_bit(kind: type[DiT], dtype: torch.dtype) -> None:
    whole = resident(kind)
    weights = {name: value.detach().clone() for name, value in whole.state_dict().items()}
    with Streamed(empty(kind), weights, dtype=dtype) as streamed:
        want = asked(whole.to(dtype))
        for _ in range(3):  # the second time round, blocks come in an order that was seen before
            assert torch.equal(asked(streamed.module), want)


def test_a_dtype_for_each_name() -> None:
    def kept(name: str) -> torch.dtype:
        return torch.float32 if "norm" in name or "modulation" in name else torch.bfloat16

    whole = resident()
    weights = {name: value.detach().clone() for name, value in whole.state_dict().items()}
    for name, parameter in whole.named_parameters():
        parameter.data = parameter.data.to(kept(name))
    with Streamed(empty(), weights, dtype=kept) as streamed:
        assert torch.equal(asked(streamed.module), asked(whole))


def test_two_blocks_at_once_and_none_where_they_ended() -> None:
    whole = resident()
    weights = Listening(whole.state_dict())
    module, seen = empty(), []
    with Streamed(module, weights, dtype=torch.float32) as streamed:
        for block in module.blocks:
            block.get_submodule("ffn").register_forward_hook(lambda *_: seen.append(sum(map(_there, module.blocks))))
        weights.asked.clear()
        asked(module)
        asked(module)
        assert seen == [1] * 8  # what is under way lies beside the module, not in it
        assert sum(len(slots) for slots in streamed._source.shelf.values()) <= 2
        assert not any(_there(block) for block in module.blocks)
        assert not [name for name in weights.asked if not name.startswith("blocks.")], "the rest is read once"
        assert 8 <= len(weights.asked) / len(list(module.blocks[0].state_dict())) <= 9
        assert streamed.block_bytes == 4 * sum(p.numel() for p in whole.blocks[0].parameters())
    assert all(parameter.is_meta for parameter in module.parameters())


def _there(block: nn.Module) -> bool:
    return not any(parameter.is_meta for parameter in block.parameters())


def test_a_forward_that_fails_leaves_nothing_behind() -> None:
    whole, module = resident(), empty()
    with Streamed(module, whole.state_dict(), dtype=torch.float32):
        with pytest.raises(ValueError, match="context"):
            module(torch.zeros(1, 16, 1, 2, 2), torch.zeros(1), context=torch.zeros(1, 5, 3))
        hook = module.blocks[2].register_forward_hook(_fail)
        with pytest.raises(RuntimeError, match="as asked"):
            asked(module)
        hook.remove()
        assert not any(_there(block) for block in module.blocks)
        assert torch.equal(asked(module), asked(whole))


def _fail(*_: object) -> None:
    raise RuntimeError("as asked")


def test_an_interrupt_leaves_no_block_for_good() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    whole, module = resident(), empty()
    with Streamed(module, whole.state_dict(), dtype=torch.float32) as streamed:
        hook = module.blocks[2].register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            asked(module)
        hook.remove()
        assert torch.equal(asked(module), asked(whole))
        assert not any(_there(block) for block in module.blocks)
        assert sum(len(slots) for slots in streamed._source.shelf.values()) <= 2


def test_weights_that_know_their_shapes_are_not_read_for_them() -> None:
    class Shaped(Listening):
        def shape(self, name: str) -> tuple[int, ...]:
            return tuple(self.tensors[name].shape)

    weights = Shaped(resident().state_dict())
    with Streamed(empty(), weights, dtype=torch.float32):
        assert not [name for name in weights.asked if name.startswith("blocks.")]


def test_room_that_is_let_go_of_is_waited_for() -> None:
    """Its memory may be handed out again while the device still reads it: as on a CUDA device, in the order of calls."""
    waited: list[object] = []
    stream = SimpleNamespace(wait_event=waited.append)
    source = _Source({}, torch.device("cpu"), torch.float32, False)
    source.shelf["larger"] = [_Slot({}, read=cast(Any, "done reading")), _Slot({})]
    source.stream = cast(Any, stream)
    source._room({"a": torch.zeros(2)}, {"a": torch.float32})
    assert waited == ["done reading"]
    assert not source.shelf


def test_weights_that_do_not_fit_are_refused_before_anything_runs() -> None:
    weights = dict(resident().state_dict())
    del weights["blocks.3.ffn.0.weight"]
    with pytest.raises(BadModel, match=r"blocks\.3\.ffn\.0\.weight"):
        Streamed(empty(), weights, dtype=torch.float32, origin="a.safetensors")


def test_a_component_visits_and_leaves_what_was_there() -> None:
    model = resident()
    before = {name: (p.data_ptr(), p) for name, p in model.named_parameters()}
    want = asked(model)
    with visiting(model, "meta") as away:  # any other device would do; this one every machine has
        assert all(parameter.is_meta for parameter in away.parameters())
    assert {name: (p.data_ptr(), p) for name, p in model.named_parameters()} == before
    assert torch.equal(asked(model), want)


def test_a_component_comes_from_a_file_for_its_stage() -> None:
    whole, module = resident(dtype=torch.bfloat16), empty()
    weights = held(resident().state_dict(), torch.bfloat16, locked=False)
    with pytest.raises(ValueError, match="dtype"), visiting(module, "cpu", weights):
        pass
    with visiting(module, "cpu", weights, torch.bfloat16):
        assert torch.equal(asked(module), asked(whole))
    assert all(parameter.is_meta for parameter in module.parameters())


LARGE = textwrap.dedent("""
    import sys, torch
    from safetensors import safe_open
    from vitascope.models.dit import DiT, DiTConfig
    from vitascope.models.outline import outlined
    from vitascope.planning.machine import memory_of_process
    from vitascope.streaming import Streamed

    class Mapped(dict):
        def __init__(self, path):
            self.file = safe_open(path, "pt")
            super().__init__(dict.fromkeys(self.file.keys()))
        def __getitem__(self, name):
            return self.file.get_tensor(name)

    config = DiTConfig(width=512, heads=4, layers=24, ffn=2048, text_width=16)
    with outlined():
        module = DiT(config)
    weights = Mapped(sys.argv[1])
    most = 0
    with torch.no_grad(), Streamed(module, weights, dtype=torch.bfloat16, forget=True) as streamed:
        before = memory_of_process()
        for block in module.blocks:
            block.register_forward_hook(lambda *_: globals().update(most=max(most, memory_of_process())))
        y = module(torch.zeros(1, 16, 1, 8, 8), torch.zeros(1), context=torch.zeros(1, 8, 16))
        whole = sum(2 * p.numel() for p in module.parameters())
        print(most - before, streamed.block_bytes, whole, bool(torch.isfinite(y).all()))
""")


def test_memory_stays_at_two_blocks_however_deep_the_network(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    config = DiTConfig(width=512, heads=4, layers=24, ffn=2048, text_width=16)
    with outlined():
        shapes = {name: value.shape for name, value in DiT(config).state_dict().items()}
    save_file({k: torch.full(v, 0.01, dtype=torch.bfloat16) for k, v in shapes.items()}, tmp_path / "a.safetensors")
    ran = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path / "a.safetensors")], capture_output=True, text=True, check=True
    )
    grown, block, whole, finite = ran.stdout.split()
    assert finite == "True"
    assert int(whole) > 24 * int(block)
    assert int(grown) < 4 * int(block) + 24 * 2**20, "two blocks, what they compute with, and no more"
