"""What the comment says, from recorded reports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmstack.pull_request.comment import LIMIT, MARKER, comment
from llmstack.pull_request.markdown import block, code
from llmstack.rehearse.report import Change, Check, Property, Report

RECORDED = Path(__file__).parents[1] / "goldens/pull_request"


def recorded(stack: str) -> Report:
    return Report.model_validate_json((RECORDED / f"{stack}.json").read_bytes())


def change(
    name: str = "x", op: str = "update", properties: int = 0, holds: str = "", value: str = "v"
) -> Change:
    made = tuple(
        Property(path=f"p{number}", before=value, after=None, replaces=False) for number in range(properties)
    )
    return Change(name=name, type="gcp:a/b:C", op=op, properties=made, holds=holds)


def report(*changes: Change, **fields: object) -> Report:
    return recorded("dev").model_copy(update={"changes": changes, **fields})


def test_the_comment_of_two_stacks_reads_as_recorded() -> None:
    text = comment([recorded("staging"), recorded("dev")], ["prod"], "c0ffee" * 6 + "c0de")
    assert text == (RECORDED / "comment.md").read_text(encoding="utf-8")


def test_a_replaced_bucket_stands_above_everything_else() -> None:
    text = comment([recorded("staging")])
    loud, table = text.index("[!CAUTION]"), text.index("| stack |")
    assert text.index(MARKER) < loud < table
    assert "every other object in it" in text[loud:table]


@pytest.mark.parametrize(
    ("op", "loud"), [("replace", True), ("delete", True), ("update", False), ("create", False)]
)
def test_only_what_goes_is_called_lost(op: str, loud: bool) -> None:
    assert ("CAUTION" in comment([report(change(op=op, holds="its objects"))])) is loud
    assert "CAUTION" not in comment([report(change(op=op))])


def test_a_failed_check_is_shown_with_its_reason() -> None:
    failed = Check(name="up", passed=False, detail="quota of ``` exceeded")
    text = comment([report(checks=(failed,))])
    assert "1 failed" in text
    assert "````text\nquota of ``` exceeded\n````" in text


def test_a_report_without_any_check_has_not_passed() -> None:
    assert "1 failed" in comment([report(checks=())])


def test_a_long_comment_loses_properties_then_resources_and_says_so() -> None:
    wide = [report(*(change(f"r{number}", properties=12, value="v" * 100) for number in range(200)))]
    text = comment(wide)
    assert len(text) <= LIMIT
    assert "each property" in text
    assert "`r199`" in text
    many = [report(*(change(f"r{number}{'x' * 200}") for number in range(2000)))]
    text = comment(many)
    assert len(text) <= LIMIT
    assert "each resource" in text
    assert "<details>" not in text


def test_a_comment_that_nothing_shortens_is_cut_at_a_line() -> None:
    lost = [report(*(change(f"r{number}{'x' * 200}", "delete", holds="objects") for number in range(2000)))]
    text = comment(lost)
    assert len(text) <= LIMIT
    assert text.endswith("stands in the run's summary and its artifact._\n")
    assert text.startswith(MARKER)


def test_no_stack_and_an_unreadable_one_are_both_said() -> None:
    assert "there is no stack" in comment([])
    text = comment([], ["prod"])
    assert "1 stack: 1 failed" in text
    assert "`prod`" in text


HOSTILE = "`</details> @everyone | <!-- llmstack --> ![x](http://a.example) <img src=x>\n## Approved"


def test_text_of_others_is_never_markup_in_the_comment() -> None:
    hostile = Property(path=HOSTILE, before=HOSTILE, after=HOSTILE, replaces=True)
    rows = (
        Change(name=HOSTILE, type=HOSTILE, op="replace", properties=(hostile,), holds=HOSTILE),
        Change(name=HOSTILE, type=HOSTILE, op="delete", properties=(), holds=HOSTILE),
    )
    checks = (
        Check(name=HOSTILE, passed=False, detail=HOSTILE),
        Check(name=HOSTILE, passed=True, detail=HOSTILE),
    )
    text = comment([report(*rows, warnings=(HOSTILE,), checks=checks, base=HOSTILE)])
    fenced = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    bare = re.sub(r"`[^`\n]*`", "", fenced)
    for word in ("@everyone", "http://a.example", "<img", "## Approved"):
        assert word in text
        assert word not in bare
    assert bare.count("<details>") == bare.count("</details>") == 1
    assert bare.count(MARKER) == 1


def test_a_bar_and_a_backtick_do_not_leave_their_cell() -> None:
    assert code("a|b`c\nd") == "`a\\|b´c d`"
    assert code("  ") == ""
    assert block("a\n````\nb").startswith("`````text\n")
