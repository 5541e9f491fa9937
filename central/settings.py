"""Django's settings: everything is derived from the home (central/home.py) and a few variables.

KOPILKA_HOME    where the database and the keys are
KOPILKA_HOSTS   names under which the centre is reached, by commas; default: any (nothing here trusts Host)
KOPILKA_HTTPS   "1" behind a TLS proxy that sets X-Forwarded-Proto: cookies become Secure

The module can be imported before the home exists (type checks, `init`).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import loyalty
from central import home as _home
from loyalty import wire

HOME = _home.of_environment()
try:
    SECRET_KEY = HOME.secret_key_file.read_text()
except OSError:  # no home yet, or not ours; a key of this process only, `serve` insists on a real one
    SECRET_KEY = secrets.token_urlsafe(48)

DEBUG = False
ALLOWED_HOSTS = [name.strip() for name in os.environ.get("KOPILKA_HOSTS", "*").split(",")]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "central.fleet",
    "central.rules",
    "central.members",
    "central.ledger",
    "central.intake",
    "central.console",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "central.console.middleware.ContentSecurityPolicy",
    "central.console.middleware.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "central.console.middleware.ChosenLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "central.urls"
ASGI_APPLICATION = "central.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]

# One writer at a time, the whole transaction or none of it, on disk before anything is answered
# (ledger-sync.md §8). WAL waits for an SQLite without the WAL-reset bug.
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": HOME.database,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# A transaction is as large as the thing it must keep whole, and says so itself (`transaction.atomic`).
ATOMIC_REQUESTS = False

LANGUAGE_CODE = "ru"
LANGUAGES = [("ru", "Русский"), ("en", "English")]
_installed = Path(loyalty.__file__).parent / "locale"
LOCALE_PATHS = [_installed if _installed.is_dir() else Path(loyalty.__file__).parent.parent / "locale"]
USE_TZ = True
TIME_ZONE = "Europe/Moscow"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]  # memory-hard, in the library
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "front"
LOGOUT_REDIRECT_URL = "login"

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # straight from the package: nothing to collect, nothing to forget
WHITENOISE_AUTOREFRESH = False

HTTPS = os.environ.get("KOPILKA_HTTPS") == "1"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600  # a working day
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 86_400
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
DATA_UPLOAD_MAX_MEMORY_SIZE = wire.MESSAGE_MAX_BYTES  # asgi.py refuses more before it is read
FILE_UPLOAD_MAX_MEMORY_SIZE = wire.MESSAGE_MAX_BYTES

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "central": {"level": "INFO"},
        # A 4xx is told to whoever asked; in the log it would only repeat the path.
        "django.request": {"level": "ERROR"},
    },
}
