"""A Django backend that asks documents. Run: python ops/recipes/django_app.py runserver

In a project of yours: the two views and their paths.
"""

import json
import os
import sys

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from glyph_worker import Client, GlyphError

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "only-for-this-example"),
        ALLOWED_HOSTS=["127.0.0.1", "localhost", "testserver"],
    )

client = Client.from_env()


@csrf_exempt
def ask(request: HttpRequest) -> JsonResponse:
    body = json.loads(request.body)
    try:
        job = client.submit(body["text"], body["question"])
    except GlyphError as exc:
        return JsonResponse(exc.to_wire(), status=exc.http_status)
    return JsonResponse({"id": job.id}, status=202)


def answer(request: HttpRequest, job_id: str) -> JsonResponse:
    try:
        found = client.result(job_id)
    except GlyphError as exc:
        return JsonResponse(exc.to_wire(), status=exc.http_status)
    return JsonResponse({"answer": found.text if found else None})


urlpatterns = [path("contracts", ask), path("contracts/<str:job_id>", answer)]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
