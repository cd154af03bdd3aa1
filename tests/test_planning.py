"""What a film takes, told before it is begun: counted operations, memory as the code allocates it, choices that fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from vitascope.errors import BadShot
from vitascope.models.dit import DiT, DiTConfig
from vitascope.models.outline import outlined
from vitascope.models.vae import VAE, VAEConfig
from vitascope.planning import (
    OFFLOADS,
    SHAPE_NAMES,
    TILE,
    Ask,
    Machine,
    Pace,
    Sizes,
    Tower,
    measured,
    plan,
    shape,
)
from vitascope.planning.choice import MARGIN
from vitascope.planning.tiles import decoder, encoder
from vitascope.planning.work import (
    SCORES,
    codec_parameters,
    decoding,
    encoding,
    forward,
    network_memory,
    tower_flops,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TALL = VAEConfig(base=24, decoder_base=32, mults=(1, 2, 2), blocks=1, temporal=(True, True), patch=2, residual=True)
LINEAR = replace(TALL, z=48, decoder_base=16, linear=True)
PACE = Pace(4e11, 2e11, {96: 2e11, 384: 3e11}, 2e10)


class _Watching(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in inputs:  # what came in was counted where it was made, or is a weight
                    self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.alive = {key: one for key, one in self.alive.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return made


def most_alive(work: Callable[[], object]) -> int:
    """Bytes of the tensors made within `work` that are alive at once, at most."""
    with torch.no_grad(), _Watching() as watching:
        work()
    return watching.peak


def sizes(network: DiTConfig, codec: VAEConfig | None = None, text_tokens: int = 512) -> Sizes:
    return Sizes("one", network, codec or VAEConfig(), Tower(8, 1, 1, 8, 8, 8), text_tokens)


def test_parameters_are_those_of_the_published_files() -> None:
    """As counted in the headers of the published files."""
    counted = [shape(name).network_parameters for name in SHAPE_NAMES]
    published = (1_418_996_800, 14_288_491_584, 16_394_878_784, 16_395_536_704, 2_153_972_032, 17_337_592_896)
    assert counted == list(published)
    assert shape("wan-1.3b").block_parameters == 46_440_704
    assert shape("wan-1.3b").outside_parameters == 25_775_680
    assert codec_parameters(VAEConfig()) == 126_892_531
    assert shape("wan-14b").text.parameters == 5_680_910_336


@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize("codec", [VAEConfig(base=16), TALL, LINEAR])
def test_parameters_are_those_of_our_modules(codec: VAEConfig, places: bool) -> None:
    network = DiTConfig(
        width=48, heads=2, layers=3, ffn=80, text_width=24, image_width=20, image_tokens=5, places=places
    )
    with outlined():
        modules = DiT(network), VAE(codec)
    counts = [sum(value.numel() for value in module.state_dict().values()) for module in modules]
    assert [sizes(network).network_parameters, codec_parameters(codec)] == counts


def test_tokens_of_wan() -> None:
    wan = shape("wan-14b")
    assert [wan.tokens(*film) for film in ((81, 480, 832), (81, 720, 1280), (1, 480, 832))] == [32_760, 75_600, 1_560]


@pytest.mark.parametrize(
    ("name", "height", "width", "tera", "share"),
    [
        ("wan-1.3b", 480, 832, 283, 0.70),
        ("wan-1.3b", 720, 1280, 1250, 0.84),
        ("wan-14b", 480, 832, 1678, 0.52),
        ("wan-14b", 720, 1280, 6523, 0.72),
    ],
)
def test_operations_of_wan(name: str, height: int, width: int, tera: float, share: float) -> None:
    """The published table (performance.md, section 3)."""
    wan = shape(name)
    found = forward(wan, wan.tokens(81, height, width))
    assert found.flops / 1e12 == pytest.approx(tera, rel=0.02)
    assert found.attention / found.flops == pytest.approx(share, abs=0.01)
    assert tower_flops(wan.text, 512) / 1e12 == pytest.approx(4.84, rel=0.02)


def test_operations_are_those_that_torch_counts() -> None:
    network = DiTConfig(width=48, heads=2, layers=3, ffn=80, text_width=24)
    model = DiT(network).to(torch.bfloat16)  # in float32 attention is a kernel that torch does not count
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 16, 3, 8, 8), torch.zeros(1), context=torch.zeros(1, 512, 24))
    assert forward(sizes(network), 48).flops == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_operations_of_the_decoder_are_those_that_torch_counts() -> None:
    codec = VAEConfig(base=16)
    vae = VAE(codec).to("meta", torch.bfloat16)  # in float32 it names a kernel that torch does not count
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        chunks = vae.decode_chunks(torch.zeros(1, 16, 3, 4, 4, dtype=torch.bfloat16, device="meta"))
        for _ in range(2):
            next(chunks)
        before = counter.get_total_flops()
        next(chunks)
    # torch counts each of a transposed convolution's 16 taps at every input, which is what ours counts: 4 at every output
    assert sum(decoding(codec, 4, 4).flops.values()) == pytest.approx(counter.get_total_flops() - before, rel=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "ffn"), [(1, 1120), (2, 350)])
def test_memory_of_the_network_is_what_it_allocates(dtype: torch.dtype, rows: int, ffn: int) -> None:
    network = DiTConfig(width=192, heads=3, layers=2, ffn=ffn, text_width=64)
    model = DiT(network).to(dtype)
    x, context = torch.zeros(rows, 16, 3, 32, 32), torch.zeros(rows, 512, 64)
    found = most_alive(lambda: model(x, torch.zeros(rows), context=context))
    told = network_memory(sizes(network), 768, rows=rows, bytes_=dtype.itemsize)
    assert 0.98 <= told / found <= 1.15


def test_memory_where_each_frame_has_a_clock_of_its_own() -> None:
    network = DiTConfig(width=384, heads=3, layers=2, ffn=700, text_width=64)
    model = DiT(network)
    x, context = torch.zeros(1, 16, 3, 32, 32), torch.zeros(1, 8, 64)
    found = most_alive(lambda: model(x, torch.zeros(1, 3), context=context))
    assert 0.98 <= network_memory(sizes(network, text_tokens=8), 768, bytes_=4, frames=3) / found <= 1.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("codec", [VAEConfig(base=16), TALL, LINEAR])
def test_memory_of_the_codec_is_what_it_allocates(codec: VAEConfig, dtype: torch.dtype) -> None:
    # Storage without numbers has the same sizes: bfloat16 takes half a minute where a processor has no instructions for it.
    on = "cpu" if dtype == torch.float32 else "meta"
    vae, (time, high, wide) = VAE(codec).to(on, dtype), codec.stride
    latent = torch.zeros(1, codec.z, 3, 8, 8, dtype=dtype, device=on)
    video = torch.zeros(1, 3, 1 + 2 * time, 8 * high, 8 * wide, dtype=dtype, device=on)
    found = most_alive(lambda: [None for _ in vae.decode_chunks(latent)])
    assert 1.0 <= decoding(codec, 8, 8, dtype.itemsize).memory / found <= 1.15
    found = most_alive(lambda: vae.encode(video, chunked=True))
    folded = 0 if codec.linear else video.numel() * dtype.itemsize
    told = encoding(codec, 8, 8, dtype.itemsize).memory + folded
    assert 0.95 <= told / found <= 1.15


def test_the_bound_on_scores_is_that_of_the_code() -> None:
    from vitascope.models import attention

    assert attention.SCORES == SCORES


def test_nothing_is_offloaded_where_all_fits() -> None:
    made = plan(shape("wan-1.3b"), Ask(81, 480, 832), Machine(GPU, 140 << 30, 128 << 30), pace=PACE)
    assert (made.offload, made.rows, made.dtype, made.calls) == ("none", 2, "bfloat16", 100)
    assert made.memory < 140 << 30
    assert made.seconds is not None
    assert [stage.name for stage in made.stages] == ["text", "walk", "decode"]


def test_more_is_offloaded_as_memory_shrinks() -> None:
    """14B at 480p: from all of it on the device to twelve GiB of accelerator, and to a computer of 24."""
    chosen = []
    for free, host in ((140, 128), (40, 128), (12, 128), (12, 24), (8, 24)):
        machine = Machine(GPU, free << 30, host << 30)
        made = plan(shape("wan-14b"), Ask(81, 480, 832), machine)
        chosen.append(made.offload)
        assert made.memory * MARGIN <= free << 30
        assert made.other * MARGIN <= host << 30
    assert chosen == ["none", "component", "block", "disk", "disk"]
    made = plan(shape("wan-14b"), Ask(81, 480, 832), Machine(CPU, 24 << 30, 24 << 30))
    assert made.offload == "disk"
    assert made.memory < 24 << 30


GPU_12 = Machine(GPU, 12 * 10**9, 64 * 10**9)
CPU_24 = Machine(CPU, 24 * 10**9, 24 * 10**9)


@pytest.mark.parametrize(("machine", "offload"), [(GPU_12, "block"), (CPU_24, "disk")], ids=["12 GB", "24 GB of RAM"])
@pytest.mark.parametrize(("height", "width"), [(480, 832), (720, 1280)])
@pytest.mark.parametrize("name", ["wan-14b", "wan-i2v-14b"])
def test_14b_is_made_to_fit(name: str, height: int, width: int, machine: Machine, offload: str) -> None:
    """81 frames in 12 GB of accelerator memory and 64 of RAM, or in 24 GB of RAM and no accelerator."""
    made = plan(shape(name), Ask(81, height, width, begins=name == "wan-i2v-14b"), machine)
    assert made.offload == offload
    free = machine.free or 0
    assert made.memory * MARGIN <= free
    assert (made.together if machine.cpu else made.memory) * MARGIN <= free
    assert made.other * MARGIN <= (machine.host or 0)
    if (height, machine) == (720, GPU_12):
        assert (made.tile, made.rows) == (TILE, 1)
        assert any(reason.startswith("tiles of 256 pixels") and "14.8 GiB" in reason for reason in made.why)


def test_tiles_come_before_weights_go() -> None:
    """1.3B at 720p: whole frames would send the weights away for the decoder; and where all fits there are no tiles."""
    wan, ask = shape("wan-1.3b"), Ask(81, 720, 1280)
    chosen = [plan(wan, ask, Machine(GPU, free << 30, 64 << 30)) for free in (48, 25, 10)]
    assert [(made.offload, made.tile) for made in chosen] == [("none", None), ("none", TILE), ("block", TILE)]
    assert not any("tiles" in reason for reason in chosen[0].why)
    first, second = (next(stage for stage in made.stages if stage.name == "decode") for made in chosen[:2])
    assert first.activations > 10 * second.activations
    assert second.flops / first.flops == pytest.approx(1.65, abs=0.05), "the overlaps are decoded twice"
    assert second.other - first.other > 2 * 3 * 81 * 720 * 1280, "the film in 16 bits"


def test_tiles_that_were_asked_for_are_taken_or_refused() -> None:
    wan, much = shape("wan-14b"), Machine(GPU, 140 << 30, 128 << 30)
    assert plan(wan, Ask(81, 480, 832), much, tile=384).tile == 384
    covered = plan(wan, Ask(17, 256, 256), much, tile=512)
    assert covered.stages == plan(wan, Ask(17, 256, 256), much).stages, "one tile covers all"
    with pytest.raises(BadShot, match=r"tile 100: .* the nearest are 96 and 128"):
        plan(wan, Ask(81, 480, 832), much, tile=100)
    with pytest.raises(BadShot, match=r"81 frames of 1280x720: .*; --tile 256 would do\."):
        plan(wan, Ask(81, 720, 1280), GPU_12, tile=1280)


@given(rows=st.integers(1, 60), columns=st.integers(1, 90), frames=st.integers(1, 30), tile=st.sampled_from([64, 256]))
def test_tiles_never_hold_more_on_the_device(rows: int, columns: int, frames: int, tile: int) -> None:
    grid = (1 + 4 * frames, rows, columns)
    for part in (decoder, encoder):
        whole, tiles = part(VAEConfig(), grid, None), part(VAEConfig(), grid, tile)
        assert tiles.memory <= whole.memory
        assert whole.held == 0
        if max(rows, columns) <= tile // 8:
            assert tiles == whole
        elif max(rows, columns) * 3 > tile // 8 * 4 and part is decoder:
            assert tiles.held >= 2 * 3 * 64 * (1 + 4 * frames) * rows * columns


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_a_refusal_names_a_film_that_does_fit(name: str) -> None:
    machine = Machine(CPU, 4 << 30, 4 << 30)
    with pytest.raises(BadShot, match=r"81 frames of 1280x720: .* takes at least .* free; .* would fit\.") as refused:
        plan(shape(name), Ask(81, 720, 1280), machine)
    words = str(refused.value).rpartition("; ")[2].split()
    assert "as" in words, "a smaller picture"
    width, height = map(int, words[words.index("of", words.index("as")) + 1].split("x"))
    assert plan(shape(name), Ask(81, height, width), machine)
    with pytest.raises(BadShot):  # and it is the nearest of its kind
        plan(shape(name), Ask(81, height + 48, width + 80), machine)
    if "frames" in words:
        frames = int(words[0])
        assert plan(shape(name), Ask(frames, 720, 1280), machine)
        with pytest.raises(BadShot):
            plan(shape(name), Ask(frames + 4, 720, 1280), machine)


def test_what_no_size_would_help_is_said_so() -> None:
    with pytest.raises(BadShot, match="a smaller model, or a machine with more memory"):
        plan(shape("wan-14b"), Ask(81, 480, 832), Machine(CPU, 1 << 28, 1 << 28))


def test_a_way_that_was_asked_for_is_taken_or_refused_with_one_that_would_do() -> None:
    wan, ask = shape("wan-14b"), Ask(17, 256, 256)
    for offload in OFFLOADS:
        assert plan(wan, ask, Machine(GPU, 140 << 30, 128 << 30), offload=offload).offload == offload  # type: ignore
    with pytest.raises(BadShot, match=r"--offload block would do"):
        plan(wan, ask, Machine(GPU, 12 << 30, 128 << 30), offload="none")
    with pytest.raises(BadShot, match="choose none, component or disk"):
        plan(wan, ask, Machine(CPU, 12 << 30, 12 << 30), offload="block")


def test_sizes_that_the_codec_cannot_make_are_refused_first() -> None:
    with pytest.raises(BadShot, match="the nearest are 77 and 81"):
        plan(shape("wan-1.3b"), Ask(80, 480, 832), Machine(CPU, None, None))
    with pytest.raises(BadShot, match="the nearest are 480 and 496"):
        plan(shape("wan-1.3b"), Ask(81, 490, 832), Machine(CPU, None, None))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(SHAPE_NAMES), frames=st.integers(0, 30), rows=st.integers(1, 60), columns=st.integers(1, 90),
    steps=st.integers(1, 60), begins=st.booleans(),
)  # fmt: skip
def test_more_film_never_takes_less(name: str, frames: int, rows: int, columns: int, steps: int, begins: bool) -> None:
    nowhere = Machine(CPU, None, None)
    ask = Ask(1 + 4 * frames, 16 * rows, 16 * columns, steps, begins=begins)
    one = plan(shape(name), ask, nowhere, pace=PACE)
    for more in (
        replace(ask, frames=ask.frames + 4),
        replace(ask, height=ask.height + 16),
        replace(ask, width=ask.width + 16),
        replace(ask, steps=ask.steps + 1),
    ):
        other = plan(shape(name), more, nowhere, pace=PACE)
        assert other.memory >= one.memory
        assert other.flops > one.flops
        assert (other.seconds or 0) > (one.seconds or 0)


def test_guidance_and_solvers_count_their_calls() -> None:
    nowhere = Machine(CPU, None, None)
    calls = {
        (solver, guided): plan(shape("wan-1.3b"), Ask(1, 64, 64, 10, solver, guided), nowhere).calls
        for solver in ("unipc", "heun", "rk4")
        for guided in (False, True)
    }
    assert list(calls.values()) == [10, 20, 20, 40, 40, 80]


def test_streamed_weights_count_where_they_come_slower_than_they_are_used() -> None:
    ask, nowhere = Ask(1, 64, 64, 10), Machine(CPU, None, None)
    slow, fast = (plan(shape("wan-14b"), ask, nowhere, pace=PACE, disk=disk, offload="disk") for disk in (1e8, 1e15))
    walks = [next(s.seconds for s in made.stages if s.name == "walk") or 0.0 for made in (slow, fast)]
    assert walks[0] == pytest.approx(10 * 2 * 14_288_491_584 / 1e8)
    assert walks[1] < walks[0] / 10


def test_the_pace_of_this_machine() -> None:
    """A block of the size that is timed takes the time that is told, within what a busy machine allows."""
    import time

    from vitascope.models.dit import Block

    network = DiTConfig(width=256, heads=2, layers=2, ffn=1024, text_width=64)
    system = sizes(network, VAEConfig(base=8), text_tokens=64)
    pace = measured(system, 5, 256, 256, CPU, torch.float32, time.process_time)
    assert set(pace.convolution) == {8, 16, 32}
    assert all(math.isfinite(rate) and rate > 0 for rate in (pace.linear, pace.attention, *pace.convolution.values()))
    assert measured(system, 5, 256, 256, CPU, torch.float32, time.process_time) is pace, "once for a process"
    block, tokens = Block(network), system.tokens(5, 256, 256)
    x, table, context = torch.zeros(1, tokens, 256), torch.zeros(1, 1, 6, 256), torch.zeros(1, 64, 256)
    turns = torch.zeros(tokens, 64, 2)
    taken = []
    with torch.no_grad():
        for _ in range(5):
            started = time.process_time()
            block(x, table, context, None, None, turns)
            taken.append(time.process_time() - started)
    one = forward(replace(system, network=replace(network, layers=1)), tokens)
    told = one.linear / pace.linear + (one.attention + one.cross) / pace.attention
    assert 0.4 < told / min(taken) < 2.5
