"""The stack files of docs/recipes are planned without a problem, and cost what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_group

from llmstack.commands.plan_gke import replica_usd
from llmstack.main import app
from stacks.config import from_stack_file
from stacks.plan import build_plan
from stacks.plan.types import StackPlan

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs/recipes").glob("*.md"))
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST_LINE = re.compile(r"# (Pulumi\.[a-z0-9-]+\.yaml): \$(\d+\.\d\d) per hour\n")
BLOCKS = [(page, text) for page in PAGES for text in BLOCK.findall(page.read_text(encoding="utf-8"))]
MODELS = {
    "Llama 2 7B": "meta-llama/Llama-2-7b-hf",
    "Llama 3 8B": "meta-llama/Meta-Llama-3-8B",
    "Gemma 2B": "google/gemma-2b",
}
PARTS = {
    "as the tutorial has it": "tpu: {machine: ct5lp-hightpu-8t}\n      scaling: {min: 2}\n      ",
    "smallest": "",
    "eight bits": "dtype: int8\n      ",
}


def named(text: str) -> tuple[str, float]:
    """The file's name and price, as its first line gives them."""
    found = FIRST_LINE.match(text)
    assert found, f"the first line names no file and price: {text.splitlines()[0]}"
    return found[1], float(found[2])


def planned(folder: Path, text: str, name: str = "Pulumi.recipe.yaml") -> StackPlan:
    (folder / name).write_text(text)
    return build_plan(from_stack_file(folder / name))


def cost(plan: StackPlan) -> float:
    each = [(deployment.replicas, replica_usd(deployment.pool)) for deployment in plan.on_tpu.values()]
    idle = [one.idle_cost.hourly_usd for one in plan.on_vertex.values() if one.idle_cost is not None]
    return round(sum(replicas * (price or 0.0) for replicas, price in each) + sum(idle), 2)


def test_there_are_recipes() -> None:
    assert [page.name for page in PAGES] == ["jetstream-on-tpu.md", "torchserve-on-vertex.md"]
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize(("page", "text"), BLOCKS, ids=[named(text)[0] for _, text in BLOCKS])
def test_a_stack_file_of_a_page_is_planned_and_costs_what_it_says(
    page: Path, text: str, tmp_path: Path
) -> None:
    name, price = named(text)
    assert cost(planned(tmp_path, text, name)) == price


def test_the_page_s_table_has_the_prices_of_every_model(tmp_path: Path) -> None:
    page = PAGES[0].read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| (Llama|Gemma)", line)]
    assert len(rows) == len(MODELS)
    for row in rows:
        title, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        for cell, part in zip(cells, PARTS.values(), strict=True):
            small = ", quantizeKvCache: true" if "int8" in part else ""
            text = (
                "config:\n  gcp:project: my-project\n  gcp:region: us-west4\n  llm:environment: dev\n"
                "  llm:hubTokenSecret: hub-token\n  llm:deployments:\n    one:\n      topology: gke-tpu\n"
                f"      model: {MODELS[title.partition(',')[0]]}\n      engine: jetstream\n      {part}"
                f"server: {{batchSize: 80, maxCacheLength: 2048{small}}}\n"
            )
            plan = planned(tmp_path, text)
            chips = plan.on_tpu["one"].pool.chips
            assert cell.endswith(f"${cost(plan):.2f}"), row
            assert re.search(rf"\b{chips} chips?,", cell), row


def test_the_commands_that_a_page_puts_in_place_of_others_exist() -> None:
    page = (PAGES[0].parent / "torchserve-on-vertex.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[1] for line in page.splitlines() if line.startswith("| ")]
    named = re.findall(r"\b(make|llmstack) ([a-z-]+)", " ".join(rows))
    targets = re.findall(r"^([a-z-]+):", (PAGES[0].parents[2] / "Makefile").read_text(), re.MULTILINE)
    known = {"make": set(targets), "llmstack": set(get_group(app).commands)}
    assert {tool for tool, _ in named} == set(known)
    for tool, command in named:
        assert command in known[tool], f"{tool} {command}"
