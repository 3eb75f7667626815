"""Records and a job out of prompts: one JSONL file a dataset of OpenCompass, and one task for those that are asked and
judged alike. It knows edgebench's files, and nothing of OpenCompass.
"""

import json
import re
from pathlib import Path

from . import Failure
from .scoring import of_generation, of_labels

JOB = "job.toml"
# What `collect` needs to know of an export.
INDEX = "export.json"
DATA = "data"
_MARK = "# Made by edgebench-oc"
_MOST_LABELS = 26


def write(folder, prompts, eval_cfgs, models, settings, source):
    """Writes everything into `folder`. `models` are abbreviations and whether each is a chat model.

    Returns what is to be known, in lines.
    """
    folder = Path(folder)
    if (folder / JOB).exists() and not (folder / JOB).read_text(encoding="utf-8").startswith(_MARK):
        raise Failure(f"{folder / JOB} is there already, and not from an export; take another folder")
    (folder / DATA).mkdir(parents=True, exist_ok=True)
    notes, tasks, stems = [], {}, {}
    for one in prompts:
        keys, why = _keys(one, eval_cfgs[one.abbr])
        if why:
            notes.append(f"{one.abbr}: judged by OpenCompass only: {why}; acc of the board means little")
        stem = _stem(one.abbr, stems)
        _write_records(folder / DATA / f"{stem}.jsonl", one)
        tasks.setdefault(json.dumps(keys), []).append((stem, one))
    named = _named(list(tasks.values()))
    chat = [is_chat for _, is_chat in models]
    if any(one.chat_only for one in prompts) and not all(chat):
        notes.append("some prompts are conversations: only a chat model sees them as they are meant (chat = true)")
    if any(one.labels for one in prompts) and any(chat):
        notes.append("prompts for ppl are given as plain text, to a chat model too")
    (folder / JOB).write_text(_job(named, list(tasks), models, settings, source, notes), encoding="utf-8")
    index = {
        "source": str(source),
        "tasks": {
            name: [{"abbr": one.abbr, "file": stem, "n": len(one.records), "labels": one.labels} for stem, one in group]
            for name, group in named
        },
    }
    (folder / INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return notes


def _keys(one, eval_cfg):
    """The keys of the task, and what cannot be judged on the board."""
    if one.labels:
        if len(one.labels) > _MOST_LABELS:
            raise Failure(f"{one.abbr}: {len(one.labels)} labels; a record has {_MOST_LABELS} choices at the most")
        return {"method": "choice", "options": "whole"}, of_labels(eval_cfg)
    scoring = of_generation(eval_cfg)
    keys = {"method": "generate", "prompt": "{{ question }}", "stop": one.stop, "max_tokens": one.max_out_len}
    return {**keys, **scoring.keys}, scoring.why


def _write_records(path, one):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for number, record in enumerate(one.records):
            line = {"id": str(number), "question": record.text, **_answer(one, number, record)}
            if record.messages and record.messages[-1]["role"] == "user" and _is_more(record):
                line["messages"] = record.messages
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _is_more(record):
    """A single turn with the same text needs no conversation."""
    return record.messages != [{"role": "user", "content": record.text}]


def _answer(one, number, record):
    if one.labels:
        labels = [str(label) for label in one.labels]
        if str(record.gold) not in labels:
            raise Failure(f"{one.abbr}: the answer of item {number}, {record.gold!r}, is none of {labels}")
        return {"choices": record.choices, "answer": labels.index(str(record.gold))}
    gold = record.gold
    if isinstance(gold, (list, tuple)):
        texts = [str(text) for text in gold if str(text)]
        return {"answers": texts} if 0 < len(texts) <= _MOST_LABELS else {"answer": json.dumps(gold, ensure_ascii=False)}
    if isinstance(gold, dict):
        gold = json.dumps(gold, ensure_ascii=False, default=str)
    # A record has to have an answer; nothing equals this one.
    return {"answer": str(gold) if gold not in (None, "") else "\u2205"}


def _stem(abbr, taken):
    """A file name for a dataset: it becomes the subject of its records."""
    stem = re.sub(r'[^\w.-]', "_", abbr) or "dataset"
    while stem in taken and taken[stem] != abbr:
        stem += "_"
    taken[stem] = abbr
    return stem


def _named(groups):
    """Each group of (stem, prompts) under the name that its members begin with."""
    named = []
    for group in groups:
        stems = [stem for stem, _ in group]
        common = stems[0] if len(stems) == 1 else _common(stems)
        name, number = common, 2
        while any(name == other for other, _ in named):
            name, number = f"{common}-{number}", number + 1
        named.append((name, group))
    return named


def _common(stems):
    prefix = stems[0]
    for stem in stems[1:]:
        while not stem.startswith(prefix):
            prefix = prefix[:-1]
    return prefix.rstrip("-_.") or "datasets"


def _job(named, keys, models, settings, source, notes):
    lines = [f"{_MARK} from {source}: the prompts are in {DATA}/, as OpenCompass makes them."]
    lines += [f"# - {note}" for note in notes]
    lines += ["", "[job]", f"name = {toml(settings.name or 'opencompass')}"]
    lines.append('timeout = "900s"            # per record: OpenCompass has none')
    for abbr, is_chat in models:
        model = settings.model or ["model.gguf"]
        lines += ["", "[[object]]", f"name = {toml(abbr)}", f"backend = {toml(settings.backend)}"]
        comment = "" if settings.model else "            # yours: a path, or a list to compare"
        lines.append(f"model = {toml(model[0] if len(model) == 1 else model)}{comment}")
        if is_chat:
            lines.append("chat = true")
        if settings.params:
            lines.append(f"params = {toml(settings.params)}")
    for (name, group), key in zip(named, keys):
        files = [f"{DATA}/{stem}.jsonl" for stem, _ in group]
        lines += ["", "[[task]]", f"name = {toml(name)}", f"dataset = {toml(files[0] if len(files) == 1 else files)}"]
        lines += [f"{word} = {toml(value)}" for word, value in json.loads(key).items()]
    lines += ["", "[rank]", 'by = ["acc desc", "decode_tok_s desc"]', ""]
    return "\n".join(lines)


def toml(value):
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML's escapes are JSON's, but for DEL, which it does not take as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return repr(value)
