"""``doctor``: what is this machine, is everything there, and is the checkpoint whole?"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import NextGPTError
from .memory import MemoryTable, check_vram, mark_sentence, memory_table
from .output import one_line, only_json, print_json, say

PACKAGES = (
    *("torch", "transformers", "diffusers", "peft", "accelerate", "huggingface_hub", "safetensors", "tokenizers"),
    *("gradio", "numpy", "pillow", "soundfile", "imageio-ffmpeg"),
)


@dataclass
class Check:
    """One line of the report."""

    name: str
    ok: bool
    message: str


@dataclass
class Report:
    checks: list[Check] = field(default_factory=list)
    components: list[Any] = field(default_factory=list)
    memory: MemoryTable | None = None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def add(self, name: str, check: Callable[[], str]) -> bool:
        """Runs a check, which returns its message or raises. Returns whether it passed."""
        try:
            self.checks.append(Check(name, True, one_line(check())))
        except NextGPTError as error:
            self.checks.append(Check(name, False, one_line(error)))
        except Exception as error:  # a check that breaks is a finding, not the end of the report
            self.checks.append(Check(name, False, f"{type(error).__name__}: {one_line(error)}"))
        return self.checks[-1].ok

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "components": [asdict(component) for component in self.components],
            "memory": self.memory.to_dict() if self.memory else None,
        }


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check the machine and a checkpoint",
        description="Checks devices, packages, ffmpeg and a checkpoint's files, and plans its memory.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", help="folder, shipped name or hub repository (default: nextgpt-mini)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--vram", type=float, metavar="GB", help="plan for a GPU of this size (default: 8 to 80)")
    parser.add_argument("--memory-plan", default="auto", metavar="PLAN", help="load with this plan (default: auto)")
    parser.add_argument(
        "--self-test", action="store_true", help="also check what was loaded, and make one reply of every modality"
    )
    parser.add_argument(
        "--quantization-gate",
        action="store_true",
        help="also compare a quantized plan with full precision, which is loaded for it",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_vram(arguments.vram)
    with only_json(arguments.json) as out:
        report = Report()
        report.add("python", _python)
        for name in PACKAGES:
            report.add(name, lambda name=name: _package(name))
        report.add("devices", _devices)
        report.add("memory", _memory)
        report.add("ffmpeg", _ffmpeg)
        machine_ok = report.ok
        _check_checkpoint(report, arguments)
        if arguments.json:
            print_json(report.to_dict(), out)
        else:
            _print(report, out)
    if report.ok:
        return 0
    bad = next(check for check in report.checks if not check.ok)
    say(f"{bad.name}: {bad.message}")
    return 2 if machine_ok and arguments.checkpoint else 1


# --- the machine -----------------------------------------------------------------------------------------------


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise NextGPTError(f"{name} is not installed. Run: pip install -r requirements.txt") from None


def _devices() -> str:
    import torch

    found = [f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} ({facts.name}, {facts.total_memory / 1e9:.0f} GB)")
    if torch.backends.mps.is_available():
        found.append("mps")
    return ", ".join(found)


def available_memory() -> int | None:
    """Free bytes of main memory; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _memory() -> str:
    free = available_memory()
    if free is None:
        return "this system does not say"
    if free < 1e9:
        raise NextGPTError(f"only {free / 1e9:.1f} GB are free; nextgpt-mini needs about 1 GB. Close other programs.")
    return f"{free / 1e9:.1f} GB free"


def _ffmpeg() -> str:
    import numpy as np

    from ..content import Video
    from ..media import read_media, write_video
    from ..media.ffmpeg import executable

    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[2:] = 200
    again = read_media(write_video(Video(frames, 4.0), None, ai_generated=True))
    if not isinstance(again, Video) or again.frames.shape != frames.shape:
        raise NextGPTError("ffmpeg wrote a clip that it does not read back. Reinstall imageio-ffmpeg.")
    return f"writes and reads clips ({executable()})"


# --- the checkpoint --------------------------------------------------------------------------------------------


def _check_checkpoint(report: Report, arguments: argparse.Namespace) -> None:
    from ..checkpoints import Manifest, find_checkpoint, memory_plan, verify
    from ..checkpoints.integrity import check_hashes
    from ..checkpoints.loading import part_folders
    from ..checkpoints.planning import resolve_plan

    name, device = arguments.checkpoint or "nextgpt-mini", arguments.device
    found: dict[str, Any] = {}

    def find() -> str:
        found["folder"] = find_checkpoint(name)
        return str(found["folder"])

    def manifest() -> str:
        found["manifest"] = Manifest.load(found["folder"])
        return found["manifest"].sentence()

    def files() -> str:
        problems = verify(found["folder"])
        if problems:
            listed = "; ".join(f"{one.path} {one.problem}" for one in problems[:20])
            raise NextGPTError(f"{len(problems)} at fault in {found['folder']}: {listed}. Fetch the checkpoint again.")
        places = part_folders(found["folder"], found["manifest"])
        for part, place in places.items():
            check_hashes(place, found["manifest"].component(part).sha256)
        return "all there and whole"

    def plan() -> str:
        placement = resolve_plan(arguments.memory_plan, found["folder"], device)
        report.components = memory_plan(found["folder"], placement.device, placement.dtype)
        total = sum(one.memory_bytes for one in report.components)
        free = available_memory()
        # Fewer bits are made of the 16 or 32 that are read first.
        if free is not None and total > free and placement.device.type == "cpu":
            wide = placement.dtype.itemsize > 2
            advice = "Add --memory-plan bf16, or choose" if wide and total / 2 <= free else "Choose"
            raise NextGPTError(
                f"{total / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free. {advice} a smaller checkpoint."
            )
        parameters = sum(one.parameters for one in report.components)
        disk = sum(one.disk_bytes for one in report.components)
        return f"{parameters / 1e6:.1f} M parameters, {disk / 1e6:.1f} MB on disk, {total / 1e6:.1f} MB in memory"

    def plans() -> str:
        report.memory = memory_table(found["folder"], arguments.vram)
        return report.memory.sentence()

    def load() -> str:
        from ..pipeline import NextGPTPipeline

        began = time.perf_counter()
        found["pipeline"] = NextGPTPipeline.from_pretrained(found["folder"], device, memory_plan=arguments.memory_plan)
        loaded = found["pipeline"].memory_plan
        said = f"loads in {time.perf_counter() - began:.1f} s on {found['pipeline'].device}"
        if loaded is None:
            return said
        advice = "; --quantization-gate compares it with full precision" if loaded.bits else ""
        return f"{said}, memory plan {loaded.name}{advice}"

    def gate() -> str:
        from ..pipeline.quantization_gate import check_quantization

        return check_quantization(found["folder"], found["pipeline"])

    if not (report.add("checkpoint", find) and report.add("manifest", manifest)):
        return
    if marks := mark_sentence(found["manifest"].extra):
        report.add("media marks", lambda: marks)
    whole = report.add("files", files)
    report.add("GPU plans", plans)  # before anything is downloaded, too
    if not whole or not report.add("memory plan", plan) or not report.add("load", load):
        return
    if arguments.self_test:
        from .self_test import self_tests

        for title, check in self_tests(found["pipeline"]):
            report.add(title, check)
    if arguments.quantization_gate:
        report.add("quantization gate", gate)


def _print(report: Report, out: Any) -> None:
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:{width}}  {check.message}", file=out)
    for one in report.components:
        print(
            f"      {one.name:{width}}  {one.parameters / 1e6:8.2f} M parameters  "
            f"{one.disk_bytes / 1e6:8.1f} MB on disk  {one.memory_bytes / 1e6:8.1f} MB in memory",
            file=out,
        )
    for line in report.memory.lines() if report.memory else ():
        print(f"      {line}", file=out)
