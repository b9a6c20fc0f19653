"""The job of a run on the workers of a cluster: sent to each once, also to those that replace a dead one.

It does not travel as a dependency of the tasks: the scheduler would put all of them where it already is.
"""

from __future__ import annotations

import threading
from typing import Any

import cloudpickle
from distributed import WorkerPlugin

_PICKLED: dict[str, bytes] = {}
_READY: dict[str, Any] = {}
_LOCK = threading.Lock()


class Delivery(WorkerPlugin):
    """Brings a job to every worker, and takes it away when it is unregistered.

    Parameters
    ----------
    run : str
        Unique name of the run.
    job : object
        Pickled by cloudpickle, so that functions of a script or a notebook travel too.
    """

    def __init__(self, run: str, job: Any) -> None:
        self.name = f"hsgeo-{run}"
        self.run, self.job = run, cloudpickle.dumps(job)

    def setup(self, worker: Any) -> None:
        """Called on each worker when it starts, or when the plugin comes."""
        _PICKLED[self.run] = self.job

    def teardown(self, worker: Any) -> None:
        """Called on each worker at the end."""
        _PICKLED.pop(self.run, None)
        _READY.pop(self.run, None)


def delivered(run: str) -> Any:
    """The job of a run in this worker; unpickled when first asked for, once per process."""
    with _LOCK:
        if run not in _READY:
            _READY[run] = cloudpickle.loads(_PICKLED[run])
        return _READY[run]
