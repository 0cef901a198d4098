"""A Django project in one file that sends tasks: after the commit, never before."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from taskq import TaskqError, task

HERE = Path(__file__).parent
DATABASE = os.environ.setdefault("SHOP_DATABASE", str(Path(tempfile.mkdtemp(), "shop.sqlite3")))

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of an example",
)
django.setup()  # before any model: the worker imports this module, too

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402


@task("welcome", queue="welcomes")
def welcome(user_id: int) -> None:
    """Run in a worker, which finds the row: the task was sent after the commit."""
    print(f"worker: welcome, {User.objects.get(pk=user_id).username}", flush=True)


@transaction.atomic
def sign_up(request: HttpRequest, name: str) -> JsonResponse:
    """Make a user; the task is sent when the transaction has been committed, and not at all if it is rolled back."""
    user = User.objects.create(username=name)
    transaction.on_commit(lambda: welcome.delay(user.pk))
    return JsonResponse({"id": user.pk}, status=201)


urlpatterns = [path("users/<str:name>", sign_up)]


def main() -> None:
    """Sign somebody up and run a worker until they are welcome."""
    call_command("migrate", verbosity=0)
    answer = Client().post("/users/ann")
    print(f"client: {answer.status_code} {answer.json()}")
    command = [sys.executable, "-m", "taskq", "worker", "-A", "shop", "-c", "1"]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        print(worker.stdout.readline(), end="")
        worker.terminate()


if __name__ == "__main__":
    try:
        main()
    except TaskqError as error:  # such as no broker: one line says what to do
        sys.exit(f"shop: {error}")
