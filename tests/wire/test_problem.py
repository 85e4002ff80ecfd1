"""Problems: one table of codes, and one form for all of them."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from server.wire.problem import CODES, Problem, ProblemError
from tests.support.errors_page import PAGE, page_with_table


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_a_noun_and_a_fault_with_an_error_status(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", code)
    assert 400 <= CODES[code].status <= 599
    assert CODES[code].title


def test_no_two_codes_look_the_same() -> None:
    titles = Counter(code.title for code in CODES.values())
    assert titles.most_common(1)[0][1] == 1


@pytest.mark.parametrize("code", CODES)
def test_a_problem_says_type_title_status_detail_and_code(code: str) -> None:
    assert json.loads(Problem(code, "Do otherwise.").encode()) == {
        "type": f"urn:sluiceway:problem:{code}",
        "title": CODES[code].title,
        "status": CODES[code].status,
        "detail": "Do otherwise.",
        "code": code,
    }


def test_faults_in_a_body_are_listed() -> None:
    problem = Problem("body_invalid", "No.", errors=({"pointer": "/a", "detail": "wrong"},))
    assert json.loads(problem.encode())["errors"] == [{"pointer": "/a", "detail": "wrong"}]


def test_an_error_carries_its_problem_and_headers() -> None:
    problem = ProblemError("topics_full", "Later.", Retry_After="5").problem
    assert (problem.status, problem.headers) == (503, {"Retry-After": "5"})


def test_the_reference_page_is_in_step_with_the_table() -> None:
    page = PAGE.read_text("utf-8")
    assert page == page_with_table(page), "run: python -m tests.support.errors_page"
