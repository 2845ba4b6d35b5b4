"""Runs Bugsink, a self-hosted server for Sentry's events, with a fresh SQLite and one project:

    .tools/receivers/bugsink/bin/python tests/receivers/run_bugsink.py

It listens on a free port of the loopback, and says so with one line of JSON on its standard output:

    {"address": "127.0.0.1:4711", "dsn": where the project's SDKs report,
     "token": for its API, as `Authorization: Bearer <token>`,
     "user": who may sign in to its pages, "password": with what}

The API is below /api/canonical/0/: `issues/?project=1`, `events/?issue=<id>`, `events/<id>/`. It ends
when its standard input closes, and takes its files with it. An event that breaks Sentry's own schema
of events is refused (VALIDATE_ON_DIGEST).
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

USER = "admin@shop.example"
CONFIGURATION = """
from bugsink.settings.default import *

SECRET_KEY = {key!r}
DATABASES["default"]["NAME"] = {folder!r} + "/db.sqlite3"
DATABASES["snappea"]["NAME"] = {folder!r} + "/snappea.sqlite3"
TIME_ZONE = "UTC"
# What comes in is an issue before it is answered.
SNAPPEA = {{"TASK_ALWAYS_EAGER": True, "NUM_WORKERS": 1, "PID_FILE": None}}
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
BUGSINK = {{
    "BASE_URL": "http://{address}",
    "INGEST_STORE_BASE_DIR": {folder!r} + "/ingestion",
    "PHONEHOME": False,
    "SINGLE_TEAM": True,
    "SINGLE_USER": True,
    "VALIDATE_ON_DIGEST": "strict",
}}
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sentry-filter-bugsink-") as folder, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        configuration = CONFIGURATION.format(key=secrets.token_hex(32), folder=folder, address=address)
        (Path(folder) / "bugsink_conf.py").write_text(configuration)
        os.environ["DJANGO_SETTINGS_MODULE"] = "bugsink_conf"
        os.environ["PYTHONPATH"] = folder
        sys.path.insert(0, folder)
        print(json.dumps({"address": address, **prepare()}), flush=True)
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--threads", "4"]
        with (Path(folder) / "log").open("w") as log:
            server = subprocess.Popen(
                [*command, "bugsink.wsgi"],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            sys.stdin.read()
        finally:
            server.terminate()
            server.wait()


def prepare() -> dict[str, str]:
    """Makes the tables, a project, a token and a user."""
    import django
    from django.core.management import call_command

    django.setup()
    for database in ("default", "snappea"):
        call_command("migrate", database=database, verbosity=0)

    from bsmain.models import AuthToken
    from django.contrib.auth import get_user_model
    from projects.models import Project

    password = secrets.token_hex(16)
    get_user_model().objects.create_superuser(username=USER, email=USER, password=password)
    project = Project.objects.create(name="gateway")
    return {
        "dsn": project.dsn,
        "token": AuthToken.create_full_access().token,
        "user": USER,
        "password": password,
    }


if __name__ == "__main__":
    main()
