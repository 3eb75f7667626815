"""The commands: `export`, `collect`, `run`."""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import Failure, __version__, board, collect, export
from .scoring import name


def main(arguments=None):
    """Exit code: 0 done, 2 what is wrong was told."""
    args = _parser().parse_args(arguments)
    try:
        return args.do(args) or 0
    except Failure as e:
        print(f"edgebench-oc: {e}", file=sys.stderr)
        return 2
    except ImportError as e:
        if e.name is None or e.name.split(".")[0] not in ("opencompass", "mmengine"):
            raise
        print(f'edgebench-oc: {e}; pip install opencompass==0.5.4 "pyarrow<22"', file=sys.stderr)
        return 2


def _parser():
    parser = argparse.ArgumentParser(prog="edgebench-oc", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("export", help="a config's prompts as records and a job; no model is loaded")
    _export_arguments(one)
    one.add_argument("-o", "--out", required=True, metavar="DIR", help="folder for job.toml and data/")
    one.set_defaults(do=_export)

    one = commands.add_parser("collect", help="a run as predictions that OpenCompass evaluates")
    one.add_argument("run", metavar="RUN", help="the folder of the run")
    one.add_argument("-o", "--out", required=True, metavar="outputs/NAME/TIMESTAMP")
    one.add_argument("--export", metavar="DIR", help="the folder of the export, if it is not above the run")
    one.set_defaults(do=_collect)

    one = commands.add_parser("run", help="all of it: export, run on the board, collect, evaluate")
    _export_arguments(one)
    where = one.add_mutually_exclusive_group(required=True)
    where.add_argument("--board", metavar="user@host:/path", help="through ssh and scp; edgebench and the model are there")
    where.add_argument("--local", action="store_true", help="on this machine")
    one.add_argument("-w", "--work-dir", default="", metavar="DIR", help="default: outputs/NAME")
    one.add_argument("--edgebench", metavar="FILE", help="default: edgebench, on a board ./edgebench")
    one.add_argument("--no-eval", action="store_true", help="leave the evaluation to a later `opencompass -m eval`")
    one.set_defaults(do=_run)
    return parser


def _export_arguments(parser):
    parser.add_argument("config", metavar="CONFIG", help="a config of OpenCompass (.py), or TOML: datasets = [\"cmmlu\"]")
    parser.add_argument("-m", "--model", action="append", default=[], help="the model, as the board has it; may be repeated")
    parser.add_argument("--backend", help="a plugin's path in place of llama")
    parser.add_argument("--param", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the backend")
    chat = parser.add_mutually_exclusive_group()
    chat.add_argument("--chat", action="store_true", default=None, help="ask through the model's chat template")
    chat.add_argument("--plain", dest="chat", action="store_false", help="ask with plain text; default: as the config's model")
    parser.add_argument("--skip-missing", action="store_true", help="leave out datasets whose files are not there")


def _export(args):
    _do_export(args, Path(args.out))
    print(f"next: edgebench check {args.out}/{export.JOB}, edgebench run, edgebench-oc collect", file=sys.stderr)


def _do_export(args, folder):
    """Exports into `folder`; the settings."""
    # OpenCompass takes seconds to load: only where it is needed.
    from . import config, opencompass_side

    opencompass_side.quiet()
    wanted = config.read(args.config)
    settings = wanted.settings
    settings.model = _placed(args.model or settings.model, args)
    settings.backend = args.backend or settings.backend
    settings.params = {**settings.params, **dict(_param(text) for text in args.param)}
    settings.chat = settings.chat if args.chat is None else args.chat
    models = list(wanted.config["models"])
    metas = [model.get("meta_template") for model in models]
    if any(meta != metas[0] for meta in metas):
        raise Failure("the models of the config have unlike meta templates: export them one by one")
    made, kept, missing = [], [], []
    for dataset in wanted.config["datasets"]:
        abbr = opencompass_side.abbr_of(dataset)
        if abbr in [one.abbr for one in made]:
            raise Failure(f"two datasets are called {abbr}: give one of them another `abbr`, or export them one by one")
        opencompass_side.with_place(dataset)
        try:
            made.append(opencompass_side.prompts(dataset, models[0]))
            kept.append(dataset)
        except OSError as e:  # A folder that is not there makes OpenCompass try a download.
            missing.append((abbr, e))
    if missing and (not made or not (wanted.skip_missing or args.skip_missing)):
        abbr, error = missing[0]
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise Failure(f"the data of {abbr}{more} is not there: {error}; put it there, or --skip-missing")
    wanted.config["datasets"] = kept
    _only_what_is_there(wanted.config, [one.abbr for one in made])
    eval_cfgs = {one.abbr: dataset.get("eval_cfg", {}) for one, dataset in zip(made, kept)}
    objects = [(model.get("abbr", "board"), _is_chat(model, settings)) for model in models]
    notes = export.write(folder, made, eval_cfgs, objects, settings, args.config)
    config.dump(wanted.config, folder / "config.py")
    if missing:
        notes.append(f"{len(missing)} datasets are left out, as their data is not there: {missing[0][0]}, …")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    records = sum(len(one.records) for one in made)
    print(f"{folder / export.JOB}: {len(made)} datasets of OpenCompass, {records} records")
    return settings


def _param(text):
    key, equals, value = text.partition("=")
    if not equals:
        raise Failure(f"--param {text}: write it like threads=4")
    if value in ("true", "false"):
        return key, value == "true"
    try:
        return key, int(value)
    except ValueError:
        return key, value


def _placed(models, args):
    """Models as the job has to write them: on a board they are beside its folder, here where the user is."""
    if getattr(args, "board", None):
        return [model if model.startswith("/") else f"../{model}" for model in models]
    starts = [Path.cwd(), Path(args.config).resolve().parent]
    found = [next((start / model for start in starts if (start / model).exists()), model) for model in models]
    return [str(model) for model in found]


def _only_what_is_there(config, abbrs):
    """Averages of a summary over datasets that were left out would be missing."""
    for group in config.get("summarizer", {}).get("summary_groups", []):
        if all(isinstance(subset, str) for subset in group["subsets"]):
            group["subsets"] = [subset for subset in group["subsets"] if subset in abbrs]


def _is_chat(model, settings):
    if settings.chat is not None:
        return settings.chat
    kind = name(model) if model.get("type") is not None else ""
    return "ChatTemplate" in kind or kind.startswith("OpenAI") or kind.endswith("API")


def _collect(args):
    _do_collect(args.run, Path(args.out), args.export)


def _do_collect(run, out, folder):
    objects, notes = collect.collect(run, out, folder)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{out}: predictions of {', '.join(objects)}; {out}/summary/{collect.TABLE}.md")
    print("next: " + " ".join(_evaluation(out)), file=sys.stderr)


def _evaluation(out):
    """The command that evaluates `out`. --debug: without it a failure is exit code 0."""
    program = shutil.which("opencompass") or str(Path(sys.executable).with_name("opencompass"))
    return [program, str(collect.config_of(out)), "-w", str(out.parent), "-m", "eval", "-r", out.name, "--debug"]


def _run(args):
    stem = Path(args.config).stem
    work = Path(args.work_dir or f"outputs/{stem}")
    stamp = time.strftime("%Y%m%d_%H%M%S")
    folder, out = work / f"{stem}-job", work / stamp
    if folder.exists():
        # Records of datasets that are no longer asked would stay.
        shutil.rmtree(folder / export.DATA, ignore_errors=True)
    _do_export(args, folder)
    if args.local:
        run = board.local(folder, args.edgebench or "edgebench")
    else:
        run = board.remote(folder, args.board, args.edgebench or "./edgebench")
    _do_collect(run, out, folder)
    if args.no_eval:
        return 0
    code = subprocess.run(_evaluation(out), check=False).returncode
    if code == 0:
        print((out / "summary" / f"{collect.TABLE}.md").read_text(encoding="utf-8"))
    return code
