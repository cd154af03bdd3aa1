"""The command line as a whole: help, unknown words, exit codes, and what goes where."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

import vitascope as package
from vitascope import bundle as originals
from vitascope import planning
from vitascope.checkpoints import assembly
from vitascope.cli import COMMANDS, bundle, bundles, plan
from vitascope.cli.progress import Told, telling
from vitascope.cli.stopping import Stopped
from vitascope.errors import BadRun
from vitascope.training import kept, run

Run = Callable[..., Any]


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_needs_no_torch(argv: list[str]) -> None:
    code = f"import sys; from vitascope.cli import main; c = main({argv}); sys.exit(9 if 'torch' in sys.modules else c)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "vitascope" in done.stdout or argv == ["--version"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(vitascope: Run, name: str) -> None:
    told = vitascope(name, "--help")
    assert (told.code, told.err) == (0, [])
    assert f"usage: vitascope {name}" in told.out
    assert f"\nvitascope {name} " in told.out or f"\nvitascope {name}\n" in told.out
    assert "(default" not in told.out, "None is no answer to what happens if a flag is not given"


def test_the_list_of_commands(vitascope: Run) -> None:
    told = vitascope("--help")
    assert told.code == 0
    assert all(f"  {name} " in told.out for name in COMMANDS)
    alone = vitascope()
    assert (alone.code, alone.out) == (2, "")
    assert "\n".join(alone.err).strip() == told.out.strip()
    assert vitascope("--version").out == package.__version__ + "\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["generat", "a ball"], "the nearest is generate"),
        (["xyzzy"], "there are generate, plan, inspect"),
        (["a red ball"], "vitascope generate 'a red ball'"),
        (["inspect"], "it needs a FILE"),
        (["inspect", "a", "b"], "one FILE"),
        (["inspect", "a", "--jsn"], "the nearest is --json"),
        (["generate", "a", "--cfg", "6"], "the nearest is --guidance"),
        (["generate", "a", "--num_inference_steps", "9"], "the nearest is --steps"),
        (["generate", "a", "-o", "a.mp4"], "the nearest is --output"),
        (["evaluate", "-o", "a"], "the nearest is --out"),
        (["generate", "--prompt", "a"], "the prompt stands without a flag, in quotes."),
        (["evaluate", "--prompt", "a"], "the nearest is --prompts."),
        (["generate", "a", "--n_prompt", "b"], "the nearest is --negative."),
        (["generate", "a", "--negative-prompt", "b"], "the nearest is --negative."),
        (["generate", "a", "--ckpt_dir", "b"], "the nearest is --model."),
        (["generate", "a", "--save_file", "b"], "the nearest is --output."),
        (["generate", "a", "--out-dir", "b"], "the nearest is --output."),
        (["generate", "a", "--sample_guide_scale", "6"], "the nearest is --guidance."),
        (["generate", "a", "--sample-steps", "6"], "the nearest is --steps."),
        (["generate", "a", "--sample_solver", "unipc"], "the nearest is --solver."),
        (["generate", "a", "--base_seed", "6"], "the nearest is --seed."),
        (["generate", "a", "--frame_num", "6"], "the nearest is --frames."),
        (["generate", "a", "--num_frames", "6"], "the nearest is --frames."),
        (["generate", "a", "--video-length", "6"], "the nearest is --frames."),
        (["generate", "a", "--size", "832*480"], "write --width 832 --height 480."),
        (["generate", "a", "--size=832x480"], "write --width 832 --height 480."),
        (["generate", "a", "--size", "480p"], "the nearest is --height."),
        (["generate", "a", "--src_ref_images", "b"], "the nearest is --reference."),
        (["generate", "a", "--src_video", "b"], "the nearest is --video."),
        (["generate", "a", "--src_mask", "b"], "the nearest is --mask."),
        (["generate", "a", "--last", "b"], "the nearest is --last-image."),
        (["generate", "a", "--preset", "comfy"], "the nearest is --as."),
        (["generate", "a", "--overwrite"], "the nearest is --force."),
        (["generate", "a", "-y"], "the nearest is --force."),
        (["generate", "a", "--fp16"], "write --dtype float16."),
        (["generate", "a", "--bf16"], "write --dtype bfloat16."),
        (["generate", "a", "--task", "t2v-14B"], "the model decides this, so leave it out."),
        (["inspect", "a", "--task", "t2v-14B"], "vitascope inspect --help lists them."),
        (["generate", "a", "--convert_model_dtype"], "vitascope generate --help lists them."),
        (["train", "tiny", "--out", "README"], "is a file, and a run is a folder; name another."),
        (["models", "a"], "there is no such folder"),
        (["models", "a", "b"], "one FOLDER"),
        (["data"], "it needs a FOLDER"),
        (["train"], "it needs a RECIPE"),
        (["train", "tiny", "--resum"], "the nearest is --resume"),
        (["train", "no-such-recipe"], "no recipe has this name"),
        (["train", "tiny", "--device", "gpu"], "cuda"),
        (["evaluate", "--prompts", "0"], "a whole number from 4 to"),
        (["evaluate", "--prompts", "1e9"], "a whole number from 4 to"),
        (["sheet", "missing.txt"], "cannot be read"),
        (["inspect", "x" * 100_000], "255 bytes"),
        (["inspect", "a\0b"], "no NUL"),
        (["inspect", "http://localhost/a.mp4"], "download it first"),
        (["generate", "a", "--output", "x" * 100_000 + ".mp4"], "255 bytes"),
        (["generate", "a", "--output", "a/" * 3000 + "b.mp4"], "255 bytes"),
        (["generate", "--from", "x" * 100_000], "255 bytes"),
        (["sheet", "x" * 100_000], "255 bytes"),
        (["x" * 100_000], "no such command"),
        (["generate", "a", "--" + "x" * 100_000], "no such flag"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_wrong_word_is_one_line_with_the_nearest_right_one(vitascope: Run, argv: list[str], says: str) -> None:
    Path("../README").write_text("mine")
    told = vitascope(*["../README" if word == "README" else word for word in argv])
    assert (told.code, told.out, told.files) == (2, "", [])
    assert len(told.err) == 1
    assert says in told.err[0]


def test_the_module_and_the_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vitascope", "generate", ""], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert os.listdir(tmp_path) == []


def test_a_result_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "vitascope", "models", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (OSError(errno.EIO, "Input/output error"), 1),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 1),
        (SafetensorError("I/O error: Disk quota exceeded (os error 122)"), 1),
        (OSError(errno.EACCES, "Permission denied"), 2),
        (None, 2),
    ],
)
def test_a_full_disk_is_a_failure_and_no_wrong_request(
    vitascope: Run, monkeypatch: pytest.MonkeyPatch, cause: Exception | None, code: int
) -> None:
    def train_recipe(*_: Any, **__: Any) -> None:
        raise BadRun("a: the checkpoint could not be written; free some space.") from cause

    monkeypatch.setattr(run, "train_recipe", train_recipe)
    told = vitascope("train", "storybook-mini", "--device", "cpu")
    assert (told.code, told.out, len(told.err)) == (code, "", 1)
    assert "free some space" in told.err[0]


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_fault(tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-m", "vitascope", "models", "--json"]
    number = {"stdout": 1, "stderr": 2}[closed]
    shell = ["sh", "-c", f'exec "$@" {number}>&-', "sh", *command]
    done = subprocess.run(shell, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "stream", "code"),
    [(["--help"], "stdout", 141), (["models", "--json"], "stdout", 141), (["bogus"], "stderr", 2)],
)
def test_who_has_read_enough_hears_no_more(tmp_path: Path, words: list[str], stream: str, code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    heard: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    done = subprocess.run(
        [sys.executable, "-m", "vitascope", *words], cwd=tmp_path, env=buffered, text=True, check=False, **heard
    )
    os.close(writer)
    assert done.returncode == code
    assert not (done.stdout if stream == "stderr" else done.stderr)


@pytest.mark.parametrize(("signalled", "code"), [(KeyboardInterrupt(), 130), (Stopped("stopped; nothing"), 143)])
def test_a_signal_that_a_library_made_an_error_of(
    vitascope: Run, monkeypatch: pytest.MonkeyPatch, signalled: BaseException, code: int
) -> None:
    def run(_: object) -> None:
        try:
            raise signalled
        except BaseException as error:
            raise ValueError("a schema could not be built") from error

    monkeypatch.setattr("vitascope.cli.models.run", run)
    told = vitascope("models")
    assert (told.code, len(told.err)) == (code, 1)


@pytest.mark.parametrize(
    "argv",
    [
        ["generate", "a", "--model", ""],
        ["generate", "a", "--output="],
        ["generate", "--from", ""],
        ["train", "tiny", "--out", ""],
        ["train", "tiny", "--data", ""],
        ["evaluate", "--out", ""],
        ["evaluate", "--data", ""],
        ["storybook", "--page", ""],
    ],
)
def test_a_name_of_nothing_is_refused(vitascope: Run, argv: list[str]) -> None:
    """As a shell makes it of a variable that is not set: it would be the current folder, or as if nothing had been said."""
    told = vitascope(*argv)
    assert (told.code, told.files, len(told.err)) == (2, [], 1)
    assert "'': there is no name in it; give one, or leave" in told.err[0]


def test_a_folder_of_nothing_is_refused(vitascope: Run) -> None:
    told = vitascope("data", "")
    assert (told.code, told.err) == (
        2, ["FOLDER '': it names no folder; give its name, or . for the one that you are in."]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["generate", "a", "--tile", "9000"], "a whole number of pixels from 1 to 8192; 256 would do."),
        (["generate", "a", "--tile", "3.5"], "a whole number of pixels from 1 to 8192; 256 would do."),
        (["sheet", "p.txt", "--columns", "x"], "a whole number from 1 to 100; 3 would do."),
        (["storybook", "--seed", "-1"], "a whole number from 0 to 999999999; 0 would do."),
        (["evaluate", "--training", "\u0663"], "a whole number from 1 to 10000000; 12000 would do."),
        (["bundle", "runs/a", "--step", "0"], "a whole number above 0; write for instance --step 4000."),
        (["bundle", "runs/a", "--step", "1234567890"], "a whole number above 0; write for instance --step 4000."),
        (
            ["bundle", "runs/a", "--strength", "1.5"],
            "a number from 0 (the model that the run goes on from) to 1 (what the run made of it); write for instance "
            "--strength 0.7.",
        ),
        (["train", "tiny", "--minutes", "0"], "a number of minutes above 0; write for instance --minutes 9."),
        (["train", "tiny", "--minutes", "inf"], "a number of minutes above 0; write for instance --minutes 9."),
        (["train", "tiny", "--minutes", "nine"], "a number of minutes above 0; write for instance --minutes 9."),
    ],
)
def test_what_is_no_such_number_is_told_what_would_be(vitascope: Run, argv: list[str], says: str) -> None:
    Path("p.txt").write_text("a ball\n", encoding="utf-8")
    told = vitascope(*argv)
    assert (told.code, told.err) == (2, [f"{argv[-2]} {argv[-1]!r}: it is {says}"])


def test_what_commands_know_without_torch_is_what_is_so() -> None:
    assert plan.OFFLOADS == planning.OFFLOADS
    assert (bundles.FILES, bundles.LOCK, bundles.HASHES) == (originals.FILES, originals.LOCK, originals.HASHES)
    assert set(plan.DTYPES) == set(assembly.DTYPES)
    assert bundle.WEIGHTS == kept.WEIGHTS


def test_a_terminal_gets_a_bar_and_a_program_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, pipe = Terminal(), io.StringIO()
    for stream in (screen, pipe):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            with telling() as told:
                told.warn("[red]'sports'[/red] is unknown")
                told.step("walking", 1, 3)
                told.step("walking", 3, 3, loss=0.12345)
                Told.silent().step("walking", 2, 3)
    assert [json.loads(line) for line in pipe.getvalue().splitlines()] == [
        {"warning": "[red]'sports'[/red] is unknown"},
        {"doing": "walking", "step": 1, "of": 3},
        {"doing": "walking", "step": 3, "of": 3, "loss": 0.12345},
    ]
    assert "3/3" in screen.getvalue()
    assert "[red]'sports'[/red]" in screen.getvalue()
    assert '"doing"' not in screen.getvalue()
