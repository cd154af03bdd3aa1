"""UMT5Text: what transformers gives of the same prompts; one layer at a time the same bits; what is kept is not run again."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.errors import BadModel
from vitascope.models.umt5 import UMT5, UMT5Config
from vitascope.wan_text import Kept, StreamedUMT5, T5Words, UMT5Text, clean, footprint, kept_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import UMT5Config as OtherConfig
    from transformers import UMT5EncoderModel

CONFIG = UMT5Config(vocab=1000, width=32, heads=4, head_width=8, ffn=48, layers=3)
PROMPTS = ("Two cats fight on a stage.", "", "一只白猫  戴着太阳镜 &amp;amp; 🎈\n", "a red ball " * 300)


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm())


def weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in UMT5(CONFIG).state_dict().items()}
    made = {}
    for name, shape in shapes.items():
        draw = torch.randn(shape, generator=generator)
        if "norm" in name:
            made[name] = 1 + 0.2 * draw
        elif "embedding" in name:
            made[name] = draw
        else:  # T5's own scale: queries are small, since logits are not divided by sqrt(d)
            made[name] = draw * (shape[1] * (CONFIG.head_width if ".q." in name else 1)) ** -0.5
    return made


def oracle(state: Mapping[str, Tensor]) -> UMT5EncoderModel:
    pairs = {"q": "q", "k": "k", "v": "v", "o": "o"}
    other = UMT5EncoderModel(
        OtherConfig(
            vocab_size=CONFIG.vocab,
            d_model=CONFIG.width,
            d_kv=CONFIG.head_width,
            d_ff=CONFIG.ffn,
            num_layers=CONFIG.layers,
            num_heads=CONFIG.heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    ).eval()
    told = {"shared.weight": state["token_embedding.weight"], "encoder.final_layer_norm.weight": state["norm.weight"]}
    for i in range(CONFIG.layers):
        one, two, ours = f"encoder.block.{i}.layer.0.", f"encoder.block.{i}.layer.1.", f"blocks.{i}."
        told |= {f"{one}SelfAttention.{b}.weight": state[f"{ours}attn.{a}.weight"] for a, b in pairs.items()}
        told[f"{one}SelfAttention.relative_attention_bias.weight"] = state[f"{ours}pos_embedding.embedding.weight"]
        told[f"{one}layer_norm.weight"] = state[f"{ours}norm1.weight"]
        told[f"{two}layer_norm.weight"] = state[f"{ours}norm2.weight"]
        for a, b in (("gate.0", "wi_0"), ("fc1", "wi_1"), ("fc2", "wo")):
            told[f"{two}DenseReluDense.{b}.weight"] = state[f"{ours}ffn.{a}.weight"]
    missing, unexpected = other.load_state_dict(told, strict=False)
    assert not unexpected
    assert set(missing) <= {"encoder.embed_tokens.weight"}
    return other


@pytest.fixture(scope="module")
def words(twin: Any) -> T5Words:
    return T5Words.spiece(twin.model)


def whole(words: T5Words, dtype: torch.dtype = torch.float32, **options: Any) -> UMT5Text:
    return UMT5Text.of(CONFIG, weights(), words, dtype=dtype, **options)


@torch.no_grad()
def test_the_context_is_what_transformers_gives(twin: Any, words: T5Words) -> None:
    """As WanPipeline does it: padded to 512 with a mask, what the mask hides set to zero."""
    condition = whole(words)(PROMPTS)
    assert set(condition) == {"context"}
    context = condition["context"]
    assert context.shape == (4, 512, 32)
    assert context.dtype == torch.float32
    asked = twin.theirs(
        [clean(prompt) for prompt in PROMPTS],
        padding="max_length", truncation=True, max_length=512, return_tensors="pt",
    )  # fmt: skip
    mask = asked["attention_mask"]
    asked_for = {"input_ids": asked["input_ids"], "attention_mask": mask}
    theirs = oracle(weights())(**asked_for).last_hidden_state * mask[..., None]
    exact = oracle(weights()).double()(**asked_for).last_hidden_state * mask[..., None]
    # In float64 the two are one (transformers keeps its norms' statistics in float32); in float32 ours is no further off.
    assert error(whole(words, torch.float64)(PROMPTS)["context"], exact) < 3e-7
    assert error(context, exact) < 1.2 * error(theirs, exact)
    assert error(context[:3], theirs[:3]) < 1e-6
    lengths = mask.sum(1).tolist()
    assert lengths[1] == 1  # the empty prompt: its end token
    assert lengths[3] == 512
    for row, length in zip(context, lengths):
        assert not row[length:].any()
        assert row[:length].any(1).all()


def test_a_prompt_does_not_depend_on_its_neighbours(words: T5Words) -> None:
    text = whole(words)
    together = text(PROMPTS)["context"]
    for prompt, row in zip(PROMPTS, together):
        assert torch.equal(text([prompt])["context"][0], row)
    assert text([])["context"].shape == (0, 512, 32)


def test_equal_prompts_are_run_once_and_only_real_tokens(words: T5Words, monkeypatch: pytest.MonkeyPatch) -> None:
    text = whole(words)
    seen: list[tuple[int, ...]] = []
    run = UMT5.forward

    def counted(self: UMT5, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        seen.append(tuple(tokens.shape))
        return run(self, tokens, mask)

    monkeypatch.setattr(UMT5, "forward", counted)
    context = text(["a ball", "a  ball\n", "", "a ball"])["context"]
    assert seen == [(1, len(words.tokens("a ball")[0])), (1, 1)]
    assert torch.equal(context[0], context[1])
    assert torch.equal(context[0], context[3])


def test_what_is_cut_and_unknown_is_told(words: T5Words) -> None:
    text = whole(words)
    assert text.cut(PROMPTS[0]) == ""
    cut = text.cut(PROMPTS[3])
    assert clean(PROMPTS[3]).endswith(cut)
    assert cut.count("ball") > 100
    assert text.unknown_words("a  &amp;  ⻄⻄ ball") == ["⻄⻄"]
    assert torch.equal(text([PROMPTS[3]])["context"], text([PROMPTS[3] + "and more"])["context"])
    assert text.notices == []


class Lent(Mapping[str, Tensor]):
    """Weights that know how many of their bytes are in use: a tensor's storage keeps its array alive."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        self.alive: dict[int, int] = {}
        self.most = 0

    def __getitem__(self, name: str) -> Tensor:
        array = self.state[name].numpy().copy()
        self.alive[id(array)] = array.nbytes
        weakref.finalize(array, self.alive.pop, id(array))
        self.most = max(self.most, sum(self.alive.values()))
        return torch.from_numpy(array)

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_by_layer_is_the_whole_bit_for_bit(words: T5Words, dtype: torch.dtype) -> None:
    text = whole(words, dtype)
    streamed = whole(words, dtype, resident="layers")
    assert (text.resident, streamed.resident) == ("whole", "layers")
    assert (text.dtype, streamed.dtype) == (dtype, dtype)
    assert not list(streamed.parameters())
    context = text(PROMPTS)["context"]
    assert torch.equal(streamed(PROMPTS)["context"], context)
    assert torch.equal(streamed.to(torch.float64)(PROMPTS)["context"], text.to(torch.float64)(PROMPTS)["context"]) == (
        dtype == torch.float32  # what was resident in bf16 was rounded; the file was not
    )


def test_one_layer_is_in_memory_at_a_time(words: T5Words) -> None:
    lent = Lent(weights())
    text = UMT5Text(StreamedUMT5(CONFIG, lent, torch.float32), words)
    text(PROMPTS[:2])
    sizes = {name: value.numel() * 4 for name, value in lent.state.items()}
    layer = sum(size for name, size in sizes.items() if name.startswith("blocks.0."))
    assert lent.most == max(layer, sizes["token_embedding.weight"])
    assert not lent.alive


def test_weights_that_do_not_fit_are_told(words: T5Words) -> None:
    state = weights()
    short = {name: value for name, value in state.items() if name != "blocks.1.attn.q.weight"}
    wide = state | {"blocks.2.ffn.fc1.weight": torch.zeros(4, 32)}
    broken = state | {"blocks.2.attn.o.weight": torch.full((32, 32), float("nan"))}
    for resident in ("whole", "layers"):
        with pytest.raises(BadModel, match=r"a\.pth: it lacks blocks\.1\.attn\.q\.weight"):
            UMT5Text.of(CONFIG, short, words, resident=resident, origin="a.pth")
        with pytest.raises(BadModel, match=r"in another shape blocks\.2\.ffn\.fc1\.weight"):
            UMT5Text.of(CONFIG, wide, words, resident=resident)(["a"])
        with pytest.raises(BadModel, match="no numbers"):
            UMT5Text.of(CONFIG, broken, words, resident=resident)(["a"])
    with pytest.raises(BadModel, match="must come from the same model"):
        UMT5Text(UMT5(UMT5Config(vocab=100, width=8, heads=1, head_width=8, ffn=8, layers=1)), words)


def test_the_forecast() -> None:
    xxl = UMT5Config()
    both = {resident: footprint(xxl, resident=resident) for resident in ("whole", "layers")}  # type: ignore[arg-type]
    assert 11.36e9 < both["whole"] < 12.0e9  # 11.36 GB are weights in bf16
    assert 0.38e9 < both["layers"] < 1.0e9  # a layer has 193 million
    assert footprint(xxl, torch.float32) > 1.9 * both["whole"]
    assert footprint(xxl, resident="layers", tokens=20) < both["layers"]
    lent_layer = 4 * sum(v.numel() for k, v in weights().items() if k.startswith("blocks.0."))
    assert footprint(CONFIG, torch.float32, resident="layers", tokens=1, prompts=1) > lent_layer


class Silent(UMT5):
    """An encoder that must not be asked."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        raise AssertionError("the encoder was run")


def silent(words: T5Words, kept: Kept, dtype: torch.dtype = torch.float32) -> UMT5Text:
    encoder = Silent(CONFIG).to(dtype)
    return UMT5Text(encoder, words, kept=kept)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_what_is_kept_is_not_run_again(words: T5Words, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a" / "b", "some hash")
    context = whole(words, kept=kept)(PROMPTS)["context"]
    assert len(files(kept.folder)) == 4
    assert torch.equal(whole(words)(PROMPTS)["context"], context)
    assert torch.equal(silent(words, kept)(PROMPTS)["context"], context)
    assert torch.equal(
        silent(words, kept)(["Two  cats\tfight on a stage.  "])["context"], context[:1]
    )  # cleaned: the same
    streamed = UMT5Text(
        StreamedUMT5(CONFIG, {name: torch.empty(0) for name in weights()}, torch.float32), words, kept=kept
    )
    assert torch.equal(streamed(PROMPTS)["context"], context)
    # another text, encoder or dtype is another file
    for other in (
        lambda: silent(words, kept)(["another"]),
        lambda: silent(words, Kept(kept.folder, "other hash"))(PROMPTS),
        lambda: silent(words, kept, torch.bfloat16)(PROMPTS),
    ):
        with pytest.raises(AssertionError, match="the encoder was run"):
            other()


def test_a_damaged_file_is_ignored_and_written_anew(words: T5Words, tmp_path: Path) -> None:
    kept = Kept(tmp_path, "some hash")
    context = whole(words, kept=kept)(["a ball"])["context"]
    (path,) = files(tmp_path)
    good = path.read_bytes()
    spoiled = [b"", good[:-1], good + b"x", b"\x80\x02pickle", b"<html>"]
    spoiled += [good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :] for place in (9, 60, 300, len(good) - 3)]
    for data in spoiled:
        path.write_bytes(data)
        assert kept.get(words.tokens("a ball")[0], torch.float32, CONFIG.width) is None
        assert torch.equal(whole(words, kept=kept)(["a ball"])["context"], context)
        assert path.read_bytes() == good
    # another's states under this name
    tensors = load_file(path)
    save_file(tensors | {"ids": tensors["ids"].flip(0).contiguous()}, path)
    assert kept.get(words.tokens("a ball")[0], torch.float32, CONFIG.width) is None


def test_the_folder_stays_within_its_limit_and_the_oldest_go(tmp_path: Path) -> None:
    states = torch.randn(10, 32)
    Kept(tmp_path, "e").put([0] * 10, torch.float32, states)
    size = files(tmp_path)[0].stat().st_size
    kept = Kept(tmp_path, "e", limit=4 * size)
    times = iter(range(1_000_000, 2_000_000))

    def put(index: int) -> None:
        known = set(files(tmp_path))
        kept.put([index] * 10, torch.float32, states)
        for path in set(files(tmp_path)) - known:
            _touch(path, next(times))

    files(tmp_path)[0].unlink()
    for index in range(1, 5):
        put(index)
    assert len(files(tmp_path)) == 4
    assert kept.get([1] * 10, torch.float32, 32) is not None  # used now, and so no longer the oldest
    put(5)
    found = [index for index in range(1, 6) if kept.get([index] * 10, torch.float32, 32) is not None]
    assert found == [1, 3, 4, 5]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * size
    Kept(tmp_path, "e", limit=10).put([9], torch.float32, states)  # larger than all there may be: not kept
    assert len(files(tmp_path)) == 4


def _touch(path: Path, time: int) -> None:
    os.utime(path, (time, time))


def test_many_at_once(tmp_path: Path) -> None:
    rows = [torch.randn(5, 32) for _ in range(6)]
    faults: list[BaseException] = []

    def work() -> None:
        try:
            mine = Kept(tmp_path, "e", limit=20_000)
            for turn in range(30):
                index = turn % len(rows)
                mine.put([index] * 5, torch.float32, rows[index])
                found = mine.get([index] * 5, torch.float32, 32)
                assert found is None or torch.equal(found, rows[index])
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert not list(tmp_path.glob("*.partial"))
    assert files(tmp_path)


def test_a_folder_that_cannot_be_is_no_error(words: T5Words, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = Kept(tmp_path / "file" / "embeddings", "some hash")
    context = whole(words, kept=kept)(["a ball"])["context"]
    assert torch.equal(context, whole(words)(["a ball"])["context"])


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_folder() == tmp_path / "vitascope" / "embeddings"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert kept_folder() == tmp_path / "home" / ".cache" / "vitascope" / "embeddings"
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert kept_folder() is None
