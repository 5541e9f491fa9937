"""Two audiences, two roots: `/v1/…` for tills, everything else for people."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path("v1/", include("central.intake.urls")),
    path("", include("central.console.urls")),
]
