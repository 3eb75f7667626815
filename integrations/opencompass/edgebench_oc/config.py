"""What is to be evaluated: an ordinary config of OpenCompass, or a few lines of TOML that name its own configs.

Either way the result is one config (`evaluated`) from which prompts are made and which OpenCompass evaluates later.
"""

import fnmatch
import os
from dataclasses import dataclass, field
from pathlib import Path

from . import Failure

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

# Keys of a TOML file.
_KEYS = {
    "datasets": list, "method": str, "only": list, "limit": int, "data": str, "summary": bool,
    "name": str, "model": (str, list), "chat": bool, "params": dict, "backend": str,
}


@dataclass
class Settings:
    """What is wanted of the board; each may be left out."""

    name: str = ""
    model: list = field(default_factory=list)
    backend: str = "llama"
    # `None`: as the config's model is.
    chat: bool = None
    params: dict = field(default_factory=lambda: {"n_ctx": 4096})


@dataclass
class Wanted:
    """A config of OpenCompass, and what is wanted of the board."""

    config: object
    settings: Settings
    # Datasets whose files are not there are left out instead of refused.
    skip_missing: bool = False


def read(path):
    """Reads CONFIG.py or CONFIG.toml."""
    path = Path(path)
    if not path.is_file():
        raise Failure(f"{path}: no such file; give a config of OpenCompass, or TOML with `datasets = [\"cmmlu\"]`")
    if path.suffix == ".toml":
        return from_toml(path)
    from mmengine.config import Config
    from opencompass.utils.run import try_fill_in_custom_cfgs

    config = try_fill_in_custom_cfgs(Config.fromfile(str(path), format_python_code=False))
    if not config.get("datasets"):
        raise Failure(f"{path}: it has no `datasets`")
    _none_is_board(config)
    return Wanted(config, Settings(name=path.stem))


def toml_settings(path):
    """The table of a TOML file, checked. Needs no OpenCompass."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise Failure(f"{path}: not TOML: {e}") from e
    for key, value in table.items():
        if key not in _KEYS:
            raise Failure(f"{path}: `{key}` is not known here; there are {', '.join(_KEYS)}")
        # A boolean is an integer in Python.
        if not isinstance(value, _KEYS[key]) or (_KEYS[key] is int and isinstance(value, bool)):
            raise Failure(f"{path}: `{key}` has the wrong type")
    if not table.get("datasets"):
        raise Failure(f"{path}: name what is asked: datasets = [\"cmmlu\", \"gsm8k\"]")
    if table.get("method", "gen") not in ("gen", "ppl"):
        raise Failure(f"{path}: `method` is \"gen\" or \"ppl\"")
    if table.get("limit", 1) < 1:
        raise Failure(f"{path}: `limit` is at least 1")
    return table


def from_toml(path):
    """A config out of OpenCompass' own, those that `datasets` names."""
    table = toml_settings(path)
    if "data" in table:
        os.environ["COMPASS_DATA_CACHE"] = str((Path(path).parent / table["data"]).resolve())
    from mmengine.config import Config

    datasets, groups = [], []
    for word in table["datasets"]:
        found = _datasets(word, table.get("method", "gen"))
        found = [d for d in found if _is_wanted(d["abbr"], table.get("only"))]
        if not found:
            raise Failure(f"{path}: of {word} nothing is left: `only` has none of its names")
        datasets += found
        if len(found) > 1:
            groups.append({"name": word, "subsets": [d["abbr"] for d in found]})
    if "limit" in table:
        for dataset in datasets:
            dataset["reader_cfg"]["test_range"] = f"[0:{table['limit']}]"
    config = Config({"datasets": datasets, "models": [{"abbr": "board"}], "summarizer": {"summary_groups": groups}},
                    format_python_code=False)
    model = table.get("model", [])
    settings = Settings(
        name=table.get("name", Path(path).stem),
        model=[model] if isinstance(model, str) else model,
        backend=table.get("backend", "llama"),
        chat=table.get("chat"),
        params=table.get("params", Settings().params),
    )
    return Wanted(config, settings, skip_missing=True)


def _datasets(word, method):
    """The datasets of OpenCompass' config `word`, or `word_gen`, `word_ppl`."""
    import opencompass
    from mmengine.config import Config

    folder = Path(opencompass.__file__).parent / "configs" / "datasets"
    for name in (word, f"{word}_{method}"):
        files = sorted(folder.glob(f"**/{name}.py"))
        if files:
            config = Config.fromfile(str(files[0]), format_python_code=False)
            lists = [value for key, value in config.items() if key.endswith("_datasets") or key == "datasets"]
            return [dataset for part in lists for dataset in part]
    near = sorted({file.stem for file in folder.glob(f"**/{word}*.py")} - {"__init__"})[:8]
    hint = f"there are {', '.join(near)}" if near else "see opencompass/configs/datasets"
    raise Failure(f"OpenCompass has no config {word}_{method}; {hint}")


def _is_wanted(abbr, patterns):
    return patterns is None or any(fnmatch.fnmatchcase(abbr, pattern) for pattern in patterns)


def _none_is_board(config):
    if not config.get("models"):
        config["models"] = [{"abbr": "board"}]


def dump(config, path):
    """Writes the config as OpenCompass itself does, to be evaluated later."""
    config.dump(str(path))
