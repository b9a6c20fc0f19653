"""What a fusion and a restoration have in common as jobs: what they were told, their notes, and the fitted method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hsgeo.scene.notes import log_note
from hsgeo.tasks.inputs import naming
from hsgeo.tasks.options import RunOptions, validated


class Job(ABC):
    """A run that is planned, and then computed lazily or written.

    Parameters
    ----------
    inputs : sequence of str
        Names of the scenes.
    find : callable
        Of a method's name, the method.
    options : FusionOptions or RestorationOptions
    run : RunOptions, optional
    params : mapping, optional
        The method's own parameters.
    progress : Progress, optional
        Told of each stage.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        find: Callable[[str], Any],
        options: Any,
        run: RunOptions | None,
        params: Mapping[str, Any] | None,
        progress: Any,
    ) -> None:
        from hsgeo.engine.progress import NullProgress

        self.run = run or RunOptions()
        self.run.check()
        self.progress = progress if progress is not None else NullProgress()
        self.inputs, self.notes = list(inputs), list[str]()
        self.method, self.values = find(options.method), dict(params or {})
        self.arguments = {**options.record(), "seed": self.run.seed, **self.values}
        self._model: Any = None

    @abstractmethod
    def _fit(self) -> Any:
        """The method fitted to the scenes."""

    @property
    def model(self) -> Any:
        """The method fitted to the scenes; fitted when first asked for."""
        if self._model is None:
            with self.progress.stage("fit"), naming(self.inputs):
                self._model = self._fit()
            for text in self._model.notes:
                log_note(text)
            self.notes += self._model.notes
        return self._model

    def params(self) -> Any:
        """The method's parameters, validated; see `hsgeo.tasks.options.validated`."""
        return validated(self.method, self.values, self.run.seed)

    def device(self) -> str:
        """The device that tiles run on in this process."""
        from hsgeo.engine.devices import pick_device

        return pick_device(self.run.device)
