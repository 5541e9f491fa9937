"""The till's voice: `Text` -> Russian (the default) or English.

English sentences are the message ids, so English needs no catalogue; Russian is
looked up in `agent.mo` (the till's own sentences) and `loyalty.mo` (the law's).
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from loyalty.amounts import Amounts
from loyalty.texts import Text, Written

LANGUAGES = ("ru", "en")
_DOMAINS = ("agent", "loyalty")


def locale_dir() -> Path:
    """Where the catalogues lie: inside an installed wheel, or beside the rooms in a checkout."""
    import loyalty

    package = Path(loyalty.__file__).parent
    installed = package / "locale"
    return installed if installed.is_dir() else package.parent / "locale"


@lru_cache(maxsize=len(LANGUAGES))
def translator(lang: str) -> Callable[[str], str]:
    """A gettext function for `lang` ("ru" or "en"); an unknown sentence comes back as it is."""
    if lang == "en":
        return lambda msgid: msgid
    chain: gettext.NullTranslations = gettext.NullTranslations()
    for domain in reversed(_DOMAINS):
        catalogue = gettext.translation(domain, locale_dir(), languages=[lang], fallback=True)
        catalogue.add_fallback(chain)
        chain = catalogue
    return chain.gettext


def language(preferred: str | None = None) -> str:
    """The language to speak: `preferred`, else KOPILKA_LANG, else Russian."""
    for candidate in (preferred, os.environ.get("KOPILKA_LANG")):
        if candidate in LANGUAGES:
            return candidate
    return "ru"


def say(text: Text, lang: str | None = None) -> str:
    """`text` in the language of this person (see `language`)."""
    return text.render(translator(language(lang)))


def both(text: Written) -> dict[str, str]:
    """`text` in every language, for programs that pass it on to a person of their own."""
    return {lang: text.render(translator(lang)) for lang in LANGUAGES}


def amount(hundredths: int, lang: str | None = None, *, sign: bool = False) -> str:
    """Points or money, as this person writes them: -123450 -> "-1 234,50". `sign`: a plus is written too."""
    return Amounts(translator(language(lang))).hundredths(hundredths, sign=sign)
