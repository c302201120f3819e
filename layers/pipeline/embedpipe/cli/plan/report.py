"""A plan as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from embedpipe.cli import output
from embedpipe.cli.plan.words import amount, dollars, span
from embedpipe.domain.capacity.alternatives import Alternative, alternatives
from embedpipe.domain.capacity.bill import by_component
from embedpipe.domain.capacity.book import Book, Books
from embedpipe.domain.capacity.choices import Choices
from embedpipe.domain.capacity.notes import is_possible, notes
from embedpipe.domain.capacity.plan import Plan, plan, template_parameters
from embedpipe.domain.capacity.workload import Workload

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Report:
    """A plan, what would be cheaper, and the books it was reckoned with."""

    plan: Plan
    cheaper: tuple[Alternative, ...]
    books: Books

    @classmethod
    def of(cls, workload: Workload, choices: Choices, books: Books) -> Report:
        """Plan."""
        made = plan(workload, choices, books)
        return cls(made, alternatives(made, books), books)

    def as_json(self) -> dict[str, Any]:
        """Give everything that the tables say, and more."""
        needs = self.plan.needs
        return {
            "possible": is_possible(self.plan),
            "notes": list(notes(self.plan)),
            "workload": asdict(needs.workload),
            "choices": asdict(needs.choices),
            "document": asdict(needs.document),
            "functions": [asdict(one) for one in needs.functions],
            "embedding": asdict(needs.embedding),
            "storage": asdict(needs.storage),
            "requests": asdict(needs.requests),
            "parameters": template_parameters(self.plan),
            "lines": [asdict(line) | {"monthly_usd": line.monthly_usd} for line in self.plan.lines],
            "components": by_component(self.plan.lines),
            "monthly_usd": self.plan.monthly_usd,
            "usd_per_million_documents": self.plan.usd_per_million_documents,
            "usd_per_million_tokens": self.plan.usd_per_million_tokens,
            "cheaper": [asdict(one) for one in self.cheaper],
            "assumed": {
                name: asdict(row)
                for book in (self.books.figures, self.books.prices)
                for name, row in book.assumed()
            },
        }

    def show(self, console: Console, *, sources: bool) -> None:
        """Print the tables."""
        for title, columns, rows in self.tables():
            if rows:
                console.print(output.table(title, columns, rows))
        parameters = template_parameters(self.plan)
        console.print("For `sam deploy --parameter-overrides`:")
        console.print("  " + " ".join(f"{name}={value}" for name, value in parameters.items()))
        for note in notes(self.plan):
            console.print(f"\n{note}")
        if sources:
            for title, book in (("Figures", self.books.figures), ("Prices", self.books.prices)):
                console.print(output.table(title, _SOURCES, list(_all(book))))
        else:
            console.print(f"\n{_ASSUMED}")

    def tables(self) -> Iterator[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
        """Give title, columns and rows of each table."""
        yield "Of the mean document", ("what", "#how much"), list(self._document())
        yield "Functions", _FUNCTIONS, list(self._functions())
        yield "Embed tasks and database", ("what", "#how much"), list(self._needs())
        yield "A month", ("component", "item", "#quantity", "unit", "#USD"), list(self._lines())
        yield "A month by component", ("component", "#USD", "#share"), list(self._components())
        yield "Cheaper", ("what", "#saves, USD", "at the price of"), list(self._cheaper())

    def _document(self) -> Iterator[tuple[str, str]]:
        doc = self.plan.needs.document
        yield "chunks", amount(doc.chunks)
        yield "tokens for the model", amount(doc.model_tokens)
        yield "embed messages, and store messages", amount(doc.batches)
        yield "bytes of its chunk message", amount(doc.chunk_message_bytes)
        yield "bytes of an embed message", amount(doc.embed_message_bytes)
        yield "bytes of a store message", amount(doc.store_message_bytes)

    def _functions(self) -> Iterator[tuple[str, ...]]:
        for one in self.plan.needs.functions:
            yield (
                one.name,
                amount(one.memory_mb),
                amount(1000 * one.each_s),
                amount(one.peak_per_s),
                amount(one.mean_at_once),
                amount(one.concurrency),
                amount(one.invocations),
            )

    def _needs(self) -> Iterator[tuple[str, str]]:
        embed, need = self.plan.needs.embedding, self.plan.needs.storage
        yield "embed tasks on", embed.compute.value
        yield "tokens a second and task", amount(embed.tokens_per_s)
        yield "time of a message on a task", span(embed.message_s)
        yield "tasks at work at the peak, on average", amount(embed.load)
        yield "tasks at the peak", "-" if embed.tasks is None else amount(embed.tasks)
        yield "tasks that always run", amount(embed.min_tasks)
        yield "tokens that a task holds at most", amount(embed.buffer_tokens)
        yield "task hours a month", amount(embed.task_hours)
        yield "post to searchable, 95 of 100", span(embed.latency_s)
        yield "the same while no task runs", span(embed.from_zero_s)
        yield "chunks stored in the end", amount(need.chunks)
        yield "database, GB", amount(need.gb)
        yield "capacity units, mean and peak", f"{need.mean_acu:,.1f}, {need.peak_acu:,.1f}"
        yield "database time of a search", span(need.search_ms / 1000)

    def _lines(self) -> Iterator[tuple[str, ...]]:
        for line in self.plan.lines:
            quantity = amount(line.quantity)
            yield line.component, line.item, quantity, line.unit, dollars(line.monthly_usd)
        yield "total", "", "", "", dollars(self.plan.monthly_usd)
        yield "", "a million documents", "", "", dollars(self.plan.usd_per_million_documents)
        yield "", "a million tokens", "", "", dollars(self.plan.usd_per_million_tokens)

    def _components(self) -> Iterator[tuple[str, ...]]:
        total = self.plan.monthly_usd
        for component, usd in by_component(self.plan.lines).items():
            yield component, dollars(usd), f"{100 * usd / total:.0f} %" if total else ""

    def _cheaper(self) -> Iterator[tuple[str, ...]]:
        for one in self.cheaper:
            yield one.what, dollars(one.saving_usd), one.price


_ASSUMED = (
    "Assumed, as no GPU and no AWS account were at hand: the speed of a GPU, how fast tasks start,"
    "\nand more: `--sources` prints every figure and price with its source, date and reason."
)
_FUNCTIONS = (
    "function",
    "#MB",
    "#ms each",
    "#a second at the peak",
    "#at once, mean",
    "#allow",
    "#a month",
)
_SOURCES = ("name", "#value", "unit", "source", "date", "assumed, because")


def _all(book: Book) -> Iterator[tuple[str, ...]]:
    for name in book:
        row = book.row(name)
        yield name, f"{row.value:g}", row.unit, row.source, row.date, row.assumption
