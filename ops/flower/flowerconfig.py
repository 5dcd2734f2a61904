"""Flower's settings beyond the environment: FLOWER_BASIC_AUTH, FLOWER_ADDRESS, FLOWER_PORT.

celery -A glyph_worker.queue.flower flower --conf=ops/flower/flowerconfig.py
"""

# What is kept of jobs that ended; the truth is in the job records, not here.
max_tasks = 20_000
# A worker that is gone leaves the list after a minute.
purge_offline_workers = 60
# Arguments are an id; the document, the question and the answer never pass through Celery.
tasks_columns = "name,uuid,state,args,runtime,worker,received,started,retries,exception"
natural_time = False
auto_refresh = True
