from django.apps import AppConfig


class IntakeConfig(AppConfig):
    name = "central.intake"
    label = "intake"
