from django.apps import AppConfig


class MembersConfig(AppConfig):
    name = "central.members"
    label = "members"
