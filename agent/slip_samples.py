"""Slips to look at: what `kopilka-agent slip preview` draws, and the golden files of the tests hold.

One of everything that a slip can say, and the worst that a programme can ask of it. A till leaves the goods
to the fiscal receipt, so only `goods` lists them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

from agent.slip import Earned, Expiring, ReturnData, SlipData, SlipLine


def at(day: int, hour: int, minute: int) -> datetime:
    """A time of November 2026 in Moscow."""
    return datetime(2026, 11, day, hour, minute, tzinfo=timezone(timedelta(hours=3)))


ONLINE = SlipData(
    shop="Ромашка",
    header=("ООО «Ромашка», г. Тула, ул. Мира, 5",),
    footer=("Спасибо за покупку!",),
    at=at(21, 14, 5),
    till="T1",
    receipt="000017",
    ident="T1-1-17-a1b2c3",
    card="…2346",
    tier="Золотая",
    list_minor=123450,
    discounts=(("Золотая карта: 10 % на кофе", 14490),),
    redeemed_minor=10000,
    pay_minor=98960,
    points_used=10000,
    earned=(Earned(3650, date(2026, 12, 5)), Earned(500)),
    expiring=(Expiring(5000, date(2026, 11, 30)),),
    available=123400,
    qr="https://example.org/r/T1-1-17-a1b2c3",
)
GOODS = replace(
    ONLINE,
    lines=(
        SlipLine("Молоко «Простоквашино» 3,2 % 930 мл", 8990, 2000, 17980),
        SlipLine("Сыр Российский", 79900, 356, 28444),
        SlipLine("Хлеб Дарницкий", 5490, 1000, 5490),
        SlipLine("Кофе зерновой — 1 кг", 71536, 1000, 57046),
    ),
)
OFFLINE = replace(ONLINE, offline=True, as_of=at(21, 12, 40), available=34050)
WITHOUT_CARD = replace(
    ONLINE,
    card=None,
    tier=None,
    discounts=(("Кофе недели: 10 %", 14490),),
    points_used=0,
    redeemed_minor=0,
    pay_minor=108960,
    earned=(),
    expiring=(),
    available=None,
    qr=None,
    footer=(),
)
LENT = replace(OFFLINE, redeemed_minor=15000, pay_minor=93960, points_used=15000, lent=5000)
LONG = replace(
    ONLINE,
    shop="Магазин «У очень гостеприимной тётушки Пелагеи Никифоровны»",
    header=("Общество с ограниченной ответственностью «Хлебосольство», г. Набережные Челны",),
    tier="Платиновая коллекционная",
    lines=(
        SlipLine("Набор конфет «Вечерний звон» ассорти с орехами и черносливом 0,5 кг", 89900, 1000, 89900),
        SlipLine("Макароны " + "из твёрдых сортов пшеницы " * 9, 12345678, 99999, 1234555454),
    ),
    list_minor=1234659944,
    pay_minor=1234635354,
    discounts=(
        ("Скидка постоянным покупателям в день рождения магазина на кондитерские изделия", 14490),
        ("Сверхдлинноеназваниебезединогопробелакотороенегдеперенести", 100),
    ),
)
HOSTILE = replace(
    ONLINE,
    shop="Ро\x1b@маш\nка",
    header=("\x1dV0 отрез\x07", "чита\u202eйка и\u0306"),
    receipt="17\r\nИТОГО 0,00",
    card="2000000002346",
    tier="\x1bp\x00ящик",
    lines=(SlipLine("Чай\t\x1b!\x30 чёрный\u200b ®", 108960, 1000, 108960),),
    qr="https://example.org/\x1bp\x00\n",
)
RETURN = ReturnData(
    shop="Ромашка",
    header=ONLINE.header,
    footer=("Ждём вас снова!",),
    at=at(23, 10, 30),
    till="T1",
    ident="T1-1-19-0f9e8d",
    returned="В-000003",
    sale="T1-1-17-a1b2c3",
    lines=(("Кофе зерновой — 1 кг", 1000, 52000), ("Сыр Российский", 100, 7990)),
    money_minor=59990,
    card="…2346",
    points_back=5000,
    points_taken=2500,
    debt=500,
)
PENDING = replace(
    RETURN, sale="T7-2-1033-77aa01", money_minor=0, points_back=0, points_taken=0, debt=0, pending=True
)
SAMPLES: dict[str, SlipData | ReturnData] = {
    "online": ONLINE,
    "goods": GOODS,
    "offline": OFFLINE,
    "lent": LENT,
    "copy": replace(ONLINE, copy=True),
    "no-card": WITHOUT_CARD,
    "return": RETURN,
    "pending": PENDING,
    "long": LONG,
    "hostile": HOSTILE,
}
