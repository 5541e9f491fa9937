"""The plain evaluator answers the published examples to the kopeck."""

import json
from pathlib import Path

import pytest
from plain_engine import evaluate

EXAMPLES = Path(__file__).parents[3] / "shared" / "spec" / "examples.jsonl"


@pytest.mark.skipif(not EXAMPLES.exists(), reason="the published examples are not beside this checkout")
def test_every_published_example_gives_exactly_its_quote() -> None:
    for line in EXAMPLES.read_text("utf-8").splitlines():
        example = json.loads(line)
        assert evaluate(example["request"]) == example["quote"]
