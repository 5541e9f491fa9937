"""The pages. A card number is posted, never part of an address."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.i18n import set_language

from central.console import views

urlpatterns = [
    path("", views.front, name="front"),
    path("login/", LoginView.as_view(template_name="console/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("language/", set_language, name="set_language"),
    path("tills/", views.tills, name="tills"),
    path("accounts/", views.find_account, name="find_account"),
    path("accounts/<int:account>/", views.account, name="account"),
]
