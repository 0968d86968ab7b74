"""The int8 model on microcontrollers: the host's bits, and what the firmware takes of flash, RAM and time.

Flash and RAM are counted with newlib's printf in them, and its heap.
"""

import re

import pytest
from conftest import FFI, run
from targets import BITS, MODEL, host, urls

KIB = 1024
# What was promised for a Cortex-M4 with FPU; the Cortex-M0's image, with arithmetic in software, must fit its board.
FLASH, RAM = {"cortex-m4": 224 * KIB, "cortex-m0": 256 * KIB}, 16 * KIB
# `phishcnn_model_scratch_size` on these targets; the firmware fails when it is less than needed.
SCRATCH = 5376
# What was measured when these were last looked at, in bytes (the stack of each call, too), and in instructions for a
# byte of an address. 3 % more fails, so that growth is seen; a tenth less, so that a meter that sees nothing is.
RECORDED = {
    "cortex-m4": dict(flash=226_400, ram=16_076, load=7_256, score=4_508, explain=5_044, instructions=59_632),
    "cortex-m0": dict(flash=233_736, ram=16_212, load=7_400, score=4_656, explain=5_240, instructions=347_808),
}
BACKEND = {"cortex-m4": "dsp", "cortex-m0": "portable"}
TARGETS = {"cortex-m4": "thumbv7em-none-eabihf", "cortex-m0": "thumbv6m-none-eabi"}


@pytest.fixture(scope="module", params=RECORDED)
def core(request):
    run("make", "-s", "-C", FFI, "bare-metal", f"TARGET={TARGETS[request.param]}")
    return request.param


def firmware(core, qemu, out, *options, cwd=None, check=True):
    """Builds and runs it; its output, or what `run` answers without check."""
    command, env = qemu
    make = ["make", "-s", "--no-print-directory", "-C", FFI / "examples/mcu", f"CORE={core}", f"OUT={out}"]
    make += [f"MODEL={MODEL}", f"SCRATCH={SCRATCH}", *options]
    run(*make)
    # What make would run, in the folder of the URLs.
    script = run(*make, "-n", "run", f"QEMU={command}")
    done = run("sh", "-c", script, env=env, cwd=cwd or out, timeout=300, check=check)
    return done.splitlines() if check else done


def test_bits(core, package, qemu, tmp_path):
    folder = urls(tmp_path / "urls", 2_000)
    lines = firmware(core, qemu, tmp_path, f"PROGRAM={BITS}", cwd=folder)
    assert lines[0] == BACKEND[core]
    assert lines[1:] == host(package, folder)


def test_all_layers(core, models, package, qemu, tmp_path):
    """Those that the embedded model has not, too; scratch memory is as much as the board's RAM allows."""
    folder = urls(tmp_path / "urls", 50)
    for model in models:
        out = tmp_path / model.stem
        out.mkdir()
        lines = firmware(core, qemu, out, f"PROGRAM={BITS}", f"MODEL={model}", "SCRATCH=40960", cwd=folder)
        assert lines == [BACKEND[core], *host(package, folder, model)], model


def measured(core, qemu, out, ram):
    """What the firmware says of itself, linked for so many bytes of RAM."""
    out.mkdir()
    said = "\n".join(firmware(core, qemu, out, f"RAM={ram}"))
    pattern = (
        r"(?s)(?P<before>.*)instructions (?P<instructions>\d+) per byte\n"
        r"stack load (?P<load>\d+) score (?P<score>\d+) explain (?P<explain>\d+)\n.*"
        rf"stack of 1024 bytes measured (?P<known>\d+)\nRAM (?P<ram>\d+) of {ram}"
    )
    figures = re.fullmatch(pattern, said).groupdict()
    return figures.pop("before"), {name: int(figure) for name, figure in figures.items()}


def test_flash_ram_and_instructions(core, qemu, tmp_path):
    """Static data, heap and stack fit the RAM together, main's and the start code's frames included."""
    answers, used = measured(core, qemu, tmp_path / "little", RAM)
    # Where nothing lies near the stack: the same, so with little RAM it went into nothing that lies below it.
    answers_with_much, used_with_much = measured(core, qemu, tmp_path / "much", 4 * RAM)
    instructions = used.pop("instructions")
    assert abs(used_with_much.pop("instructions") - instructions) < 1e-4 * instructions
    assert (answers, used) == (answers_with_much, used_with_much)
    # The meter's control: a frame of 1,024 bytes, with what the compiler adds.
    assert 1024 <= used.pop("known") <= 1024 + 32
    sections = run("arm-none-eabi-size", "-A", tmp_path / "little/firmware.elf")
    sections = {name: int(size) for name, size in re.findall(r"^(\.\w+)\s+(\d+)", sections, re.M)}
    used |= {"flash": sections[".text"] + sections[".data"], "instructions": instructions}
    print(core, used)
    assert used["flash"] <= FLASH[core] and used["ram"] <= RAM
    for name, amount in used.items():
        assert 0.9 * RECORDED[core][name] <= amount <= 1.03 * RECORDED[core][name], f"{name}: {used}"


def test_too_little_ram_is_seen(core, qemu, tmp_path):
    """The guard's control: a stack that reaches it, or goes beyond, ends the firmware."""
    _, used = measured(core, qemu, tmp_path / "little", RAM)
    for less in (-32, 128, 1024):
        out = tmp_path / f"less{less}"
        out.mkdir()
        ram = (used["ram"] - less) // 8 * 8
        done = firmware(core, qemu, out, f"RAM={ram}", check=False)
        assert done.returncode == 3, (less, done.stdout)
