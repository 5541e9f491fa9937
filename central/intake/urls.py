"""The machine API."""

from __future__ import annotations

from django.urls import path, re_path

from central.intake import views

urlpatterns = [
    path("enroll", views.enroll),
    path("tills/<str:till>/sync", views.sync),
    path("tills/<str:till>/claim", views.claim),
    path("tills/<str:till>/lookup", views.lookup),
    path("tills/<str:till>/log", views.log_of),
    path("tills/<str:till>/restore", views.restore),
    path("receipts/<str:ref>", views.receipt),
    path("channels/<str:channel>/manifest", views.channel_manifest),
    re_path(r"^files/(?P<sha256>[0-9a-f]{64})$", views.file),
    path("<path:path>", views.not_found),
]
