"""Celery and its broker. The map of this folder.

Who calls in: workers (`app.make_app`), Flower (`flower`), the gateway's metrics (`queue_state`).

app            transport, routes, contracts; start here
names          queues and tasks, constants only
lease          a visibility timeout becomes a lease
transport      kombu's, with two things mended
pool           cheap threads, one per job in flight
prefork        Celery's, with one thing mended
frames         what a task that raised would leave in memory
messages       what the broker holds, read-only
queue_state    who waits, for how long, who works
flower         the app that Flower loads
consumer       Celery's, which knows what passes by itself
discarding     messages that are no jobs of ours, logged without content
takeover       jobs that wait under the names of version 0.1
flower_broker  our broker in Flower's words
results        a Celery result backend that reads job records
"""
