"""What each model is like; a name that is misspelt is answered with the right one."""

from __future__ import annotations

import pytest

from agent.drivers.printer_models import MODELS, UnknownModelError, profile_of


@pytest.mark.parametrize(
    ("model", "page", "proof"),
    [
        ("generic", 17, "status"),
        ("epson-tm-t20", 17, "id"),
        ("rongta-rp326", 7, "status"),
        ("pos-5890", 59, "status"),
    ],
)
def test_the_page_of_cyrillic_is_the_models_own(model: str, page: int, proof: str) -> None:
    profile = profile_of(model)
    assert (profile.encoding, profile.page, profile.proof) == ("cp866", page, proof)


def test_every_model_can_print() -> None:
    assert all(profile.columns in (32, 42, 48) for profile in MODELS.values())


def test_a_misspelt_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownModelError, match="did you mean epson-tm-t20"):
        profile_of("epson-t20")
    with pytest.raises(UnknownModelError, match="known are generic"):
        profile_of("цццц")
