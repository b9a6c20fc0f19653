"""What every task that runs or writes may be told, as two small records passed down whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hsgeo.errors import OutputExistsError, ParameterError, did_you_mean

#: types that rasters of every format we write can hold
DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


@dataclass(frozen=True)
class RunOptions:
    """Where and how tiles are worked on."""

    device: str = "auto"
    workers: int = 0
    scheduler: str | None = None
    tile: int | None = None
    memory: str = "4GiB"
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def check(self) -> None:
        """See that the scheduler answers or the device is here, before anything is opened.

        Raises
        ------
        ParameterError
            It names the option and the fix.
        """
        from hsgeo.engine.cluster import check_scheduler
        from hsgeo.engine.devices import check_device, pick_device

        named = check_device(self.device).startswith("cuda")
        if self.scheduler is not None:
            check_scheduler(self.scheduler)  # the devices are those of its workers
        elif named:
            pick_device(self.device)


@dataclass(frozen=True)
class WriteOptions:
    """How an output is written; `dtype` and `nodata` None keep the input's."""

    cog: bool = False
    overwrite: bool = False
    resume: bool = False
    dtype: str | None = None
    nodata: float | None = None
    creation: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ParameterError(f"--dtype {self.dtype!r}: one of {', '.join(DTYPES)}.")


def derived_output(source: str | os.PathLike[str], suffix: str, extension: str = ".tif") -> Path:
    """`hyperion.tif` -> `hyperion_fused.tif` in the current folder."""
    return Path(Path(str(source).rstrip("/\\")).stem + suffix + extension)


def check_format(
    output: str | os.PathLike[str], write: WriteOptions, dtype: str | None = None, bands: int | None = None
) -> None:
    """Refuse an output whose suffix or creation options stand for nothing; `dtype` and `bands` where they are known."""
    from hsgeo.scene.creation import check_creation
    from hsgeo.scene.write import output_format

    check_creation(output_format(output, write.cog), Path(output), write.creation, dtype or write.dtype, bands)


def check_target(
    output: str | os.PathLike[str], write: WriteOptions, dtype: str | None = None, bands: int | None = None
) -> None:
    """`check_format`, and refuse an output that exists or whose folder cannot be written, before any work."""
    from hsgeo.scene.write import check_output

    check_format(output, write, dtype, bands)
    check_output(output, write.overwrite)


def refuse_inputs(outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """Refuse outputs that would replace an input, its ENVI header included: not even ``--overwrite`` is meant so.

    Raises
    ------
    OutputExistsError
        An output, or the header that comes with it, is a file of an input, or a folder in which one lies.
    """
    from hsgeo.scene.write import FORMATS

    read = [Path(i) for i in inputs if i]
    for output in map(Path, outputs):
        header = [output.with_suffix(".hdr")] if FORMATS.get(output.suffix.lower()) == "ENVI" else []
        for path in (output, *header):
            for source in (p for i in read for p in (i, *_headers(i))):
                if path.exists() and source.exists() and path.samefile(source):
                    raise OutputExistsError(f"{output} would replace the input {source}; choose another output.")
                if source.exists() and path.resolve() in source.resolve().parents:
                    raise OutputExistsError(
                        f"{output} would replace the folder in which the input {source} lies; choose another output."
                    )


def check_model_name(path: Path) -> None:
    """Refuse the name of a model that does not end as one.

    Raises
    ------
    ParameterError
        It does not end in ``.safetensors``.
    """
    if path.suffix != ".safetensors":
        raise ParameterError(f"{path}: a model is written as .safetensors; change -o.")


def check_seed(seed: int) -> None:
    """Refuse a seed that random generators do not take.

    Raises
    ------
    ParameterError
        It is below 0, or so large that those counted on from it, tile by tile, would not fit into 64 bits.
    """
    if not 0 <= seed < 2**62:
        raise ParameterError(f"--seed {seed}: at least 0 and below 2^62.")


def _headers(source: Path) -> tuple[Path, ...]:
    return (source.with_suffix(".hdr"), source.with_name(f"{source.name}.hdr")) if source.is_file() else ()


def key_values(pairs: Iterable[str], option: str) -> dict[str, str]:
    """Parse repeated ``KEY=VALUE`` options."""
    result = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise ParameterError(f"{option} {pair!r}: write it as KEY=VALUE.")
        result[key.strip()] = value.strip()
    return result


#: pydantic's types of error as a person says what is asked for
ASKED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "multiple_of": "a multiple of {multiple_of}",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "model_type": "parameters of its own (KEY.PART=VALUE)",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
}


def validated(method: Any, values: Mapping[str, Any], seed: int) -> Any:
    """The parameters of a method.

    Parameters
    ----------
    method : Method or RestorationMethod
    values : mapping
        As they were given.
    seed : int
        Of the run, for a method that has one.

    Raises
    ------
    ParameterError
        A name that the method does not know, or a value outside its range.
    """
    from pydantic import ValidationError

    kind = method.Params
    known = set(kind.model_fields)
    values = {**({"seed": seed} if "seed" in known else {}), **values}
    for name in values:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            hint = did_you_mean(name, known)
            raise ParameterError(f"method {method.name} has no parameter {name!r} (it has {listed}).{hint}")
    try:
        return kind(**values)
    except ValidationError as error:
        raise ParameterError(wrong_value(error, kind)) from error


def wrong_value(error: Any, kind: Any) -> str:
    """One sentence from pydantic's ValidationError: the first parameter at fault and what it may be.

    Parameters
    ----------
    error : pydantic.ValidationError
    kind : pydantic model
        Of the parameters.
    """
    every = error.errors()
    (name, known), given = _place(every[0]["loc"], kind), every[0]["input"]
    if every[0]["type"] == "extra_forbidden":
        last = name.rpartition(".")[2]
        return f"{name}: no such parameter (there are {', '.join(sorted(known))}).{did_you_mean(last, known)}"
    asked = []
    for one in every:
        if _place(one["loc"], kind)[0] == name and one["input"] is given:
            context = one.get("ctx", {})
            expected = str(context.get("expected", "")).replace("'", "") if one["type"] == "literal_error" else ""
            asked.append(expected or ASKED.get(one["type"], one["msg"]).format(**context))
    return f"{name}={given!r}: {' or '.join(dict.fromkeys(asked))}."


def _place(loc: tuple[Any, ...], kind: Any) -> tuple[str, set[str]]:
    """The name of a parameter, dotted where it is part of another, and its neighbours'; `loc` as pydantic says it."""
    names: list[str] = []
    known: set[str] = set()
    for part in loc:
        fields = getattr(kind, "model_fields", None)
        if fields is None:  # inside of a value, or which of its types was tried
            break
        names.append(str(part))
        known, kind = set(fields), fields[part].annotation if part in fields else None
    return ".".join(names), known


def config_folders() -> list[Path]:
    """Where configurations are found by name: in the installed package, or beside a source checkout."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in (package / "_configs", package.parent / "configs") if folder.is_dir()]


def load_parameters(
    config: str | None, settings: Iterable[str], part: str = "", own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Parameters from a YAML file (a path, or the name of one that comes with hsgeo) and ``--set key=value``.

    A key with dots, ``network.width``, stands for a parameter inside another. Of a file that has a `part` of this name
    that one alone is taken. Those that have an option of their `own`, None where it is not given, go before the file's.

    Raises
    ------
    ParameterError
        The file is missing or does not hold a mapping; a setting is not KEY=VALUE, or is given by its own option too.
    """
    values: dict[str, Any] = {}
    given = {key: value for key, value in (own or {}).items() if value is not None}
    if config is not None:
        path = find_config(config)
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ParameterError(f"{path}: not a YAML file that can be read ({str(error).splitlines()[0]}).") from error
        if isinstance(loaded, dict):
            loaded = loaded.get(part, loaded)
        if not isinstance(loaded, dict):
            raise ParameterError(f"{path}: expected 'key: value' lines; see configs/ for examples.")
        values.update(loaded)
    for key, text in key_values(settings, "--set").items():
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ParameterError(f"--set {key}={text}: not a value that YAML knows.") from error
        if key in given:
            raise ParameterError(f"--set {key}={text} and --{key} {given[key]}: give one of the two.")
        *names, last = key.split(".")
        place = values
        for name in names:
            inside = place.get(name, {})
            if not isinstance(inside, dict):
                raise ParameterError(f"--set {key}={text}: {name} is {inside!r} already; give one of the two.")
            place[name] = place = dict(inside)
        place[last] = value
    return values | given


def find_config(name: str) -> Path:
    """The file of a configuration given by path or by name."""
    if Path(name).is_file():
        return Path(name)
    known = {p.stem: p for folder in config_folders() for p in sorted(folder.rglob("*.yaml"))}
    if name in known:
        return known[name]
    listed = f" ({', '.join(sorted(known))})" if known else ""
    raise ParameterError(
        f"--config {name}: no such file, nor a configuration of that name{listed}." + did_you_mean(name, known)
    )
