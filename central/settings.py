SECRET_KEY = "x"
INSTALLED_APPS: list[str] = ["django.contrib.contenttypes", "django.contrib.auth"]
