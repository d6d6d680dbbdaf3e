"""The comment: every stack's rehearsal as one Markdown text, cut to what GitHub takes."""

from __future__ import annotations

from collections.abc import Sequence

from llmstack.output import gib
from llmstack.pull_request.markdown import block, code, details, table
from llmstack.rehearse.report import Change, Property, Report

MARKER = "<!-- llmstack -->"
"""First line of the comment, by which it is found again."""
LIMIT = 65_536
"""Most characters of a comment: GitHub answers 422, "body is too long (maximum is 65536 characters)"."""
_PROPERTIES = 12
"""Most properties shown of one resource."""
_STUBBED = (
    "Rehearsed with the real Pulumi engine in a rehearsed cloud, without an account. "
    "**Containers are stubbed**: no model was loaded, no image was built."
)


def comment(
    reports: Sequence[Report], unreadable: Sequence[str] = (), head: str = "", limit: int = LIMIT
) -> str:
    """The comment on a pull request.

    Args:
        reports: one per stack.
        unreadable: stacks whose rehearsal left no report that can be read.
        head: the commit that was rehearsed, if known.
        limit: most characters; what goes beyond is cut, properties first, with a note that says so.
    """
    ordered = sorted(reports, key=lambda report: report.stack)
    for depth in (2, 1, 0):
        text = _text(ordered, unreadable, head, depth)
        if len(text) <= limit:
            return text
    note = f"\n\n{_cut('the rest')}\n"
    lines = text[: limit - len(note)].rpartition("\n")[0]
    return lines + note


def _cut(what: str) -> str:
    return f"_Cut to GitHub's limit for a comment: {what} stands in the run's summary and its artifact._"


def _text(reports: Sequence[Report], unreadable: Sequence[str], head: str, depth: int) -> str:
    """The comment with properties (depth 2), with resources only (1), or with its head alone (0)."""
    rehearsed = f" Commit {code(head[:12])}." if head else ""
    parts = [MARKER, _title(reports, unreadable), f"{_STUBBED}{rehearsed}"]
    parts += _losses(reports)
    parts.append(_overview(reports, unreadable))
    if depth < 2:
        parts.append(_cut("each property" if depth else "each resource"))
    if depth:
        parts += [_stack(report, depth) for report in reports]
    return "\n\n".join(parts) + "\n"


def _title(reports: Sequence[Report], unreadable: Sequence[str]) -> str:
    failed = len(unreadable) + sum(not report.passed for report in reports)
    every = len(reports) + len(unreadable)
    stacks = f"{every} stack{'' if every == 1 else 's'}"
    if not every:
        return "## Rehearsal: there is no stack"
    return f"## Rehearsal of {stacks}: {f'{failed} failed' if failed else 'passed'}"


def _losses(reports: Sequence[Report]) -> list[str]:
    """One loud block for what holds data and goes."""
    lines = [
        f"> **{code(report.stack)}: {change.op}s {code(change.name)}** ({code(change.type)}): "
        f"{code(change.holds)} will be lost."
        for report in reports
        for change in report.changes
        if change.loses_data
    ]
    return ["\n>\n".join(["> [!CAUTION]\n> Data goes with this change.", *lines])] if lines else []


def _overview(reports: Sequence[Report], unreadable: Sequence[str]) -> str:
    rows = [
        (
            code(report.stack),
            "passed" if report.passed else "**failed**",
            *(str(report.count(op)) for op in ("create", "update", "replace", "delete")),
            str(len(report.warnings)),
            code(report.base),
        )
        for report in reports
    ]
    missing = [(code(stack), "**no report**: see the run's log", *[""] * 6) for stack in unreadable]
    columns = ("stack", "rehearsal", "create", "update", "replace", "delete", "warnings", "compared with")
    return table(columns, [*rows, *missing])


def _stack(report: Report, depth: int) -> str:
    failed = [check for check in report.checks if not check.passed]
    parts = [f"{code(check.name)} **failed**\n\n{block(check.detail)}" for check in failed]
    parts += [f"- warning: {code(warning)}" for warning in report.warnings]
    parts.append(_changes(report.changes, depth) if report.changes else "Nothing changes.")
    if report.deployments:
        rows = [
            (
                code(each.name),
                code(each.model),
                code(each.machine),
                gib(each.need_bytes),
                gib(each.have_bytes),
            )
            for each in report.deployments
        ]
        parts.append(table(("deployment", "model", "machine", "needs", "has"), rows))
    parts.append(_figures(report))
    parts.append(_checks(report))
    counts = ", ".join(
        f"{report.count(op)} to {op}" for op in ("create", "update", "replace", "delete") if report.count(op)
    )
    # The stack's name is a pattern of plain characters, so it needs no escaping.
    summary = f"<b>{report.stack}</b>: {counts or 'no change'}{'' if report.passed else ', failed'}"
    return details(summary, "\n\n".join(parts))


def _changes(changes: Sequence[Change], depth: int) -> str:
    rows = []
    for change in changes:
        op = f"**{change.op}**" if change.op in ("replace", "delete") else change.op
        shown = change.properties[:_PROPERTIES] if depth > 1 else ()
        cell = "<br>".join(_property(each) for each in shown)
        more = len(change.properties) - len(shown)
        if more:
            cell += f"{'<br>and ' if shown else ''}{more} {'more' if shown else 'properties'}"
        if change.op == "replace" and not change.properties:
            cell = "what it depends on is replaced"
        rows.append((op, code(change.name), code(change.type), cell))
    return table(("", "resource", "type", "what changes"), rows)


def _property(change: Property) -> str:
    forced = " **forces the replacement**" if change.replaces else ""
    if change.before is None and change.after is None:
        return f"{code(change.path)}{forced}"
    before, after = (code(value or "") or "nothing" for value in (change.before, change.after))
    return f"{code(change.path)}: {before} → {after}{forced}"


def _figures(report: Report) -> str:
    rows = [
        (
            code(each.step),
            *(str(count) for count in (each.create, each.update, each.replace, each.delete)),
            f"{each.seconds:.1f} s",
        )
        for each in report.figures
    ]
    return table(("step", "create", "update", "replace", "delete", "took"), rows)


def _checks(report: Report) -> str:
    lines = []
    for check in report.checks:
        said = f": {code(check.detail)}" if check.detail and check.passed else ""
        lines.append(f"- {'passed' if check.passed else '**failed**'}: {code(check.name)}{said}")
    return "\n".join(lines)
