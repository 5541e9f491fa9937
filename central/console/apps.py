from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "central.console"
    label = "console"
