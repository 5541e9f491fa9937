"""A django-oscar shop with our goods, in a database in memory; used by `bench.peers` alone.

Django is set up once for the process, with oscar's own settings and no
migrations (the tables are made straight from the models). Product, range,
condition, benefit and offer are what oscar's dashboard would make.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

Json = dict[str, Any]

_OSCAR_APPS = (
    *("analytics", "checkout", "address", "shipping", "catalogue", "catalogue.reviews", "communication"),
    *("partner", "basket", "payment", "offer", "order", "customer", "search", "voucher", "wishlists"),
)


class _NoMigrations(dict[str, None]):
    """Every app is without migrations."""

    def __contains__(self, app: object) -> bool:
        return True

    def __getitem__(self, app: str) -> None:
        return None


@cache
def _set_up() -> None:
    defaults = import_module("oscar.defaults")
    settings.configure(
        **{name: getattr(defaults, name) for name in dir(defaults) if name.startswith("OSCAR_")},
        SECRET_KEY="bench",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        MIGRATION_MODULES=_NoMigrations(),
        HAYSTACK_CONNECTIONS={"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}},
        SITE_ID=1,
        USE_TZ=True,
        INSTALLED_APPS=[
            *("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"),
            *("django.contrib.messages", "django.contrib.sites", "django.contrib.flatpages"),
            *(_config(app) for app in _OSCAR_APPS),
            *("treebeard", "haystack", "widget_tweaks", "django_tables2"),
        ],
    )
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)


def _config(app: str) -> str:
    name = app.rpartition(".")[2].title()
    return f"oscar.apps.{app}.apps.{'CatalogueReviews' if app == 'catalogue.reviews' else name}Config"


@cache
def shop(goods_json: str) -> Shop:
    """The shop with these goods, made once."""
    _set_up()
    return Shop(json.loads(goods_json))


class Shop:
    """Products and categories; offers and baskets come and go."""

    def __init__(self, goods: Json) -> None:
        loading: Any = import_module("oscar.core.loading")
        self._get_model = loading.get_model
        self._apply = loading.get_class("offer.applicator", "Applicator")().apply
        self._strategy = loading.get_class("partner.strategy", "Selector")().strategy()
        self._categories = self._make_categories(goods["categories"])
        self._products = self._make_products(goods["skus"])

    def _make_categories(self, parents: dict[str, str | None]) -> dict[str, Any]:
        category = self._get_model("catalogue", "Category")
        made: dict[str, Any] = {}
        for name, parent in parents.items():
            made[name] = category.add_root(name=name) if parent is None else made[parent].add_child(name=name)
            if parent is not None:
                made[parent].refresh_from_db()
        return made

    def _make_products(self, skus: Json) -> dict[str, Any]:
        product = self._get_model("catalogue", "Product")
        kind = self._get_model("catalogue", "ProductClass").objects.create(name="goods", track_stock=False)
        partner = self._get_model("partner", "Partner").objects.create(name="us")
        product.objects.bulk_create(
            product(title=sku, slug=sku, upc=sku, product_class=kind, structure="standalone") for sku in skus
        )
        products = {each.upc: each for each in product.objects.select_related("product_class")}
        self._get_model("catalogue", "ProductCategory").objects.bulk_create(
            self._get_model("catalogue", "ProductCategory")(
                product=products[sku], category=self._categories[each["category"]]
            )
            for sku, each in skus.items()
        )
        self._get_model("partner", "StockRecord").objects.bulk_create(
            self._get_model("partner", "StockRecord")(
                product=each, partner=partner, partner_sku=sku, price=Decimal(1)
            )
            for sku, each in products.items()
        )
        return products

    def replace_offers(self, percents: Sequence[tuple[Decimal, str]]) -> None:
        """One offer for each (percent, category); the greater percent goes first."""
        offer = self._get_model("offer", "ConditionalOffer")
        models = [self._get_model("offer", name) for name in ("Range", "Condition", "Benefit")]
        for model in (offer, *models):
            model.objects.all().delete()
        goods, condition, benefit = models
        for number, (percent, category) in enumerate(percents):
            where = goods.objects.create(name=f"range {number}")
            where.included_categories.add(self._categories[category])
            offer.objects.create(
                name=f"offer {number}",
                priority=int(percent * 100),
                condition=condition.objects.create(range=where, type="Count", value=1),
                benefit=benefit.objects.create(range=where, type="Percentage", value=percent),
            )

    def basket(self, lines: Sequence[tuple[str, int, int]]) -> Any:
        """A stored basket of (sku, kopecks a piece, pieces)."""
        basket = self._get_model("basket", "Basket").objects.create()
        basket.strategy = self._strategy
        for sku, price_minor, pieces in lines:
            self._products[sku].stockrecords.update(price=Decimal(price_minor) / 100)
            basket.add_product(self._products[sku], pieces)
        return basket

    def apply(self, basket: Any) -> Any:
        """Find and apply the offers of the shop."""
        basket.reset_offer_applications()
        self._apply(basket)
        return basket
