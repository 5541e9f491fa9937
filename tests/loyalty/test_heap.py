"""The collector waits while a rulebook is loaded, and none is left behind when it is replaced."""

from __future__ import annotations

import gc
import random
import weakref

import pytest
from large_requests import large_request
from till_engine import answer_with, compiled

from loyalty.heap import paused_collector, put_aside


def test_the_collector_waits_and_goes_on_even_where_loading_fails() -> None:
    def load_badly() -> None:
        with paused_collector():
            assert not gc.isenabled()
            raise ValueError("a bad rulebook")

    assert gc.isenabled()
    with pytest.raises(ValueError, match="a bad rulebook"):
        load_badly()
    assert gc.isenabled()


def test_who_had_paused_it_before_finds_it_paused() -> None:
    with paused_collector():
        with paused_collector():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_rulebook_that_is_replaced_is_gone_at_once() -> None:
    request = large_request(random.Random(1))
    with paused_collector():
        rules = compiled(request)
        answer_with(rules, request)
        put_aside()
        gone = weakref.ref(rules)
        del rules
        assert gone() is None
    gc.unfreeze()
