"""`glyph-worker plan`: how many workers, how much memory and what bandwidth a load needs."""

from __future__ import annotations

from typing import Annotated

import typer

from glyph_worker.cli.show import AsJson, out, print_json, say, table


def plan(
    documents_per_day: Annotated[float, typer.Option(min=1, help="Each counted once a day.")],
    pages: Annotated[float, typer.Option(min=0.1, help="Pages of a document.")] = 10,
    questions: Annotated[float, typer.Option(min=1, help="Questions on a document.")] = 5,
    answer_tokens: Annotated[float, typer.Option(min=1, help="Tokens of an answer.")] = 64,
    page_tokens: Annotated[float, typer.Option(min=1, help="Visual tokens of a page.")] = 630,
    hit_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of documents with features in the cache.")
    ] = 0.0,
    prefix_hit_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of later questions that find their prefix.")
    ] = 0.9,
    keep_hours: Annotated[
        float, typer.Option(min=0.01, help="How long the cache server keeps features.")
    ] = 1.0,
    peak: Annotated[float, typer.Option(min=1, help="Busiest hour over the day's mean.")] = 3.0,
    device: Annotated[
        str, typer.Option(help="A name, or a JSON file as ops/bench/plan writes it.")
    ] = "h200-9b",
    hour_cost: Annotated[float | None, typer.Option(min=0, help="Price of a device hour.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer workers, Redis memory, network and cost of a load, with the formula's inputs."""
    from glyph_worker.plan.capacity import Site, make_plan
    from glyph_worker.plan.device import find_device
    from glyph_worker.plan.load import Load

    load = Load(
        documents_per_day=documents_per_day, pages=pages, questions=questions,
        answer_tokens=answer_tokens, page_tokens=page_tokens, hit_rate=hit_rate,
        prefix_hit_rate=prefix_hit_rate, peak=peak,
    )  # fmt: skip
    changes = {} if hour_cost is None else {"hour_cost": hour_cost}
    chosen, site = find_device(device, changes=changes), Site(feature_hours=keep_hours)
    made = make_plan(load, chosen, site)
    if as_json:
        parts = {"load": load, "device": chosen, "site": site, "plan": made}
        print_json({name: part.model_dump() for name, part in parts.items()})
        return
    out.print(table((), lines(made.model_dump())))
    say((f"device {chosen.name}: {chosen.source}", "dim"))


def lines(fields: dict[str, float | int | str]) -> list[tuple[str, str]]:
    """Names and values as people read them."""
    shown = []
    for name, value in fields.items():
        if isinstance(value, str):
            text = value
        elif name.endswith("_bytes"):
            text = f"{_scaled(value)}B"
        elif name.endswith("_bytes_per_s"):
            text = f"{_scaled(value)}B/s"
        elif isinstance(value, int):
            text = f"{value:,}"
        else:
            text = f"{value:,.4g}" if value < 1_000 else f"{value:,.0f}"
        shown.append((name.replace("_", " "), text))
    return shown


def _scaled(value: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if value < 1_000:
            return f"{value:.3g} {unit}"
        value /= 1_000
    return f"{value:,.1f} P"
