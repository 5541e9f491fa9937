"""The office's voice outside its pages: `Text` -> Russian (the default) or English.

Pages are translated by Django; commands and reports come here. Both read the same catalogue,
`django.mo`, and the law's sentences stand in `loyalty.mo`.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Callable
from functools import lru_cache

from loyalty.texts import Text

LANGUAGES = ("ru", "en")
_DOMAINS = ("django", "loyalty")


@lru_cache(maxsize=len(LANGUAGES))
def translator(lang: str) -> Callable[[str], str]:
    """A gettext function for `lang` ("ru" or "en"); an unknown sentence comes back as it is."""
    from central.settings import LOCALE_PATHS

    if lang == "en":
        return lambda msgid: msgid
    chain: gettext.NullTranslations = gettext.NullTranslations()
    for domain in reversed(_DOMAINS):
        catalogue = gettext.translation(domain, LOCALE_PATHS[0], languages=[lang], fallback=True)
        catalogue.add_fallback(chain)
        chain = catalogue
    return chain.gettext


def language() -> str:
    """KOPILKA_LANG where it names a language we speak, else Russian."""
    wanted = os.environ.get("KOPILKA_LANG", "")
    return wanted if wanted in LANGUAGES else LANGUAGES[0]


def say(text: Text) -> str:
    """`text` in the language of whoever runs this command."""
    return text.render(translator(language()))
