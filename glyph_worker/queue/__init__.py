"""Celery and its broker. The map of this folder.

Who calls in: workers (`app.make_app`), Flower (`flower`), the gateway's metrics (`queue_state`).

app          transport, routes, contracts; start here
names        queues and tasks, constants only
lease        a visibility timeout becomes a lease
transport    kombu's, with two things mended
pool         cheap threads, one per job in flight
prefork      Celery's, with one thing mended
messages     what the broker holds, read-only
queue_state  who waits, for how long, who works
flower       the app that Flower loads
"""
