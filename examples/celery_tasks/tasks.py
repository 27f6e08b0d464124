"""A Celery application whose task is a run: its progress, its question and its result are seen."""

import os
import time

from celery import Celery

import runcast

app = Celery("tasks", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/1"))


@runcast.sources.celery.task(labels={"team": "pictures"})
@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def resize(self, count, pause_s=0.1):
    for number in range(1, count + 1):
        time.sleep(pause_s)
        self.update_state(state="PROGRESS", meta={"current": number, "total": count})
    answer = runcast.ask("Publish the pictures?", interrupt_id="publish")
    return {"resized": count, "published": answer.approved}
