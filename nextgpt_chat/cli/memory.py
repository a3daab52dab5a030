"""``doctor``'s memory table: what each part takes in each precision, and which plan fits which GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NextGPTError

if TYPE_CHECKING:
    from ..checkpoints.planning import MemoryNeeds

LARGEST = 10_000  # GB that --vram takes


@dataclass(frozen=True)
class MemoryTable:
    """The needs of a checkpoint, and the memory of the GPUs (GiB) that it is asked about."""

    needs: MemoryNeeds
    budgets: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; sizes in bytes, ``gb`` as asked."""
        from ..checkpoints.planning import GIB, PLANS, RESERVE

        plans = []
        for budget in self.budgets:
            plan = self.needs.best(int(budget * GIB))
            facts = {
                "gb": budget,
                "plan": plan.name if plan else None,
                "peak_bytes": self.needs.peak(plan) if plan else None,
            }
            plans.append(facts | {"message": self.needs.advice(int(budget * GIB))})
        parts = [
            {"name": one.name, "parameters": one.parameters, "bytes": dict(one.weights), "work_bytes": one.work}
            for one in self.needs.parts
        ]
        return {
            "parts": parts,
            "cache_bytes": self.needs.cache,
            "context": self.needs.context,
            "reserve_bytes": RESERVE,
            "peak_bytes": {name: self.needs.peak(plan) for name, plan in PLANS.items()},
            "plans": plans,
        }

    def sentence(self) -> str:
        """The plans in one line."""
        from ..checkpoints.planning import GIB

        chosen = ((budget, self.needs.best(int(budget * GIB))) for budget in self.budgets)
        return ", ".join(f"{budget:g} GB: {plan.name if plan else 'does not fit'}" for budget, plan in chosen)

    def lines(self) -> list[str]:
        """For people."""
        from ..checkpoints.planning import GIB, PRECISIONS, RESERVE

        head = ("GiB by precision", "parameters", *PRECISIONS, "working")
        rows = [
            (
                one.name,
                f"{one.parameters / 1e6:.1f} M",
                *(f"{one.weights[p] / GIB:.2f}" for p in PRECISIONS),
                f"{one.work / GIB:.2f}",
            )
            for one in self.needs.parts
        ]
        sums = [sum(one.weights[p] for one in self.needs.parts) for p in PRECISIONS]
        total = sum(one.parameters for one in self.needs.parts)
        rows.append(("together", f"{total / 1e6:.1f} M", *(f"{one / GIB:.2f}" for one in sums), ""))
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in (head, *rows)
        ]
        lines += [
            f"cache of one talk ({self.needs.context} positions): {self.needs.cache / GIB:.2f} GiB; driver and "
            f"libraries: {RESERVE / GIB:.2f} GiB. Working memory is estimated, at the checkpoint's default sizes.",
            "int8, int4: the language model's blocks; its embeddings, head, norms and LoRA stay in 16 bits.",
        ]
        return lines + [f"{budget:g} GB: {self.needs.advice(int(budget * GIB))}" for budget in self.budgets]


def memory_table(folder: Path, vram: float | None) -> MemoryTable:
    """The table of the checkpoint in ``folder``, whose weights need not be there, for GPUs of ``vram`` GB (None = the
    usual ones). Raises NextGPTError."""
    from ..checkpoints.planning import BUDGETS, memory_needs

    return MemoryTable(memory_needs(folder), BUDGETS if vram is None else (vram,))


def check_vram(vram: float | None) -> None:
    """Raises NextGPTError for what cannot be a GPU's memory."""
    if vram is not None and not 0 < vram <= LARGEST:
        raise NextGPTError(f"--vram is {vram:g}; give a GPU's memory in GB, up to {LARGEST}.")


def mark_sentence(extra: Any) -> str | None:
    """What ``<Img>`` and ``</Img>`` are to this checkpoint, and what decided it, of a manifest's ``extra``; None where
    it does not say."""
    facts = extra.get("img_tokens")
    if not isinstance(facts, dict) or facts.get("mode") not in ("real", "text"):
        return None
    kind = "tokens of their own" if facts["mode"] == "real" else "ordinary text pieces"
    reason = f" (decided by {facts['decided_by']})" if facts.get("decided_by") else ""
    return f"<Img> and </Img> are {kind}{reason}"
