"""A Celery application whose queue is in the folder that the variable TELEMETRY names, as its telemetry is.

As a program it sends so many tasks as its argument says.
"""

import os
import sys

from celery import Celery

import codoperf_otel as co

folder = os.environ["TELEMETRY"]
queue = dict.fromkeys(("data_folder_in", "data_folder_out"), f"{folder}/queue")
app = Celery("queued", broker="filesystem://")
app.conf.broker_transport_options = {**queue, "control_folder": f"{folder}/control", "polling_interval": 0.05}
app.conf.task_ignore_result = True
co.configure("queued", file=folder)
done = os.open(f"{folder}/done", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@app.task
@co.monitor_performance("work")
def work(number):
    os.write(done, b".")


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        work.delay(number)
