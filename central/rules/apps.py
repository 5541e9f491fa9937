from django.apps import AppConfig


class RulesConfig(AppConfig):
    name = "central.rules"
    label = "rules"
