"""A run of the board as OpenCompass' predictions, and what the board measured as a second table beside its summary.

It reads a run folder and the index of an export; it knows OpenCompass' layout, and none of its classes.
"""

import csv
import json
import statistics
from pathlib import Path

from . import Failure
from .export import DATA, INDEX, JOB

# Figures of a whole test case that are shown beside those of each dataset.
_CASE = ["prefill_tok_s", "decode_tok_s", "rss_peak_mib", "energy_j_per_token", "power_w_avg", "temp_c_max", "valid"]
# Of each dataset: column of samples.csv, its name in the table. Medians over the answered records.
_SAMPLE = [("ttft_ms", "ttft_ms_p50"), ("e2e_ms", "e2e_ms_p50"), ("prompt_tokens", "prompt_tokens_p50"),
           ("output_tokens", "output_tokens_p50")]
TABLE = "edgebench"


def collect(run, out, export=None):
    """Writes predictions and the table into `out`; returns the objects and what is to be known."""
    run, out = Path(run), Path(out)
    folder = find_export(run, export)
    tasks = json.loads((folder / INDEX).read_text(encoding="utf-8"))["tasks"]
    cases = _csv(run / "cases.csv")
    answers = _predictions(run / "predictions.jsonl")
    samples = _samples(run / "samples.csv")
    notes, rows, objects = [], [], []
    for case in cases:
        object_id, task = case["case"].split("/", 1)
        if task not in tasks:
            notes.append(f"{case['case']}: no task of the export")
            continue
        if object_id not in objects:
            objects.append(object_id)
        if case["status"] != "ok":
            notes.append(f"{case['case']}: {case['status']}: {case['reason']}; what has no prediction counts as wrong")
        for dataset in tasks[task]:
            key = (case["case"], dataset["file"] if len(tasks[task]) > 1 else "")
            mine = answers.get(key, {})
            predictions = _layout(folder, dataset, mine)
            missing = dataset["n"] - len(mine)
            if missing:
                notes.append(f"{object_id}/{dataset['abbr']}: {missing} of {dataset['n']} records have no answer")
            path = out / "predictions" / object_id / f"{dataset['abbr']}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(predictions, ensure_ascii=False, indent=4), encoding="utf-8")
            rows.append(_row(object_id, dataset, mine, samples.get(key, []), case))
    if not rows:
        raise Failure(f"{run}: nothing of the export in {folder} was run")
    _write_table(out / "summary", rows)
    _write_config(folder, out, objects)
    return objects, notes


def find_export(run, export=None):
    """The folder of the export that was run: `export`, or one above the run, or where its job was."""
    if export is not None:
        candidates = [Path(export)]
    else:
        candidates = list(run.resolve().parents)
        try:
            datasets = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["datasets"]
            candidates += [Path(path).parent.parent for path in datasets]
        except (OSError, ValueError, KeyError) as e:
            raise Failure(f"{run}/manifest.json: {e}; give the folder of a run") from e
    for folder in candidates:
        if (folder / INDEX).is_file():
            return folder
    raise Failure(f"no {INDEX} in {candidates[0]} or beside the run's data; give --export, the folder with {JOB}")


def _csv(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as e:
        raise Failure(f"{path}: {e.strerror}; give the folder of a run") from e


def _place(case, text):
    """A record's id as (case, file), number: `cmmlu-law:3` of several files, `3` of one."""
    file, _, number = text.rpartition(":")
    return (case, file), number


def _predictions(path):
    answers = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                answer = json.loads(line)
                key, number = _place(answer["case"], answer["id"])
                answers.setdefault(key, {})[number] = answer
    except OSError as e:
        raise Failure(f"{path}: {e.strerror}; give the folder of a run") from e
    return answers


def _samples(path):
    samples = {}
    for row in _csv(path):
        # Pass 0 is the warm-up.
        if row["pass"] != "0" and row["status"] == "ok":
            samples.setdefault(_place(row["case"], row["id"])[0], []).append(row)
    return samples


def _layout(folder, dataset, answers):
    """`{"0": {…}, …}` without a gap, which OpenCompass does not forgive."""
    with open(folder / DATA / f"{dataset['file']}.jsonl", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    one = _label if dataset["labels"] else _text
    return {record["id"]: one(dataset, record, answers.get(record["id"], {})) for record in records}


def _text(_, record, answer):
    prediction = answer.get("output", answer.get("prediction"))
    prompt = record["question"]
    if "messages" in record:
        roles = {"user": "HUMAN", "assistant": "BOT", "system": "SYSTEM"}
        prompt = [{"role": roles[part["role"]], "prompt": part["content"]} for part in record["messages"]]
    return {"origin_prompt": prompt, "prediction": prediction or "", "gold": record.get("answer", record.get("answers"))}


def _label(dataset, record, answer):
    labels = dataset["labels"]
    scores = answer.get("scores") or [None] * len(labels)
    entry = {"in-context examples": "", "origin_prompt": record["question"]}
    for label, prompt, score in zip(labels, record["choices"], scores):
        entry[f"label: {label}"] = {"prompt": prompt, "PPL": None if score is None else -score}
    letter = answer.get("prediction")
    entry["prediction"] = labels[ord(letter) - ord("A")] if letter else ""
    entry["gold"] = labels[record["answer"]]
    return entry


def _row(object_id, dataset, answers, samples, case):
    judged = [answer["correct"] for answer in answers.values() if "correct" in answer]
    # As OpenCompass writes it, in percent and of all records.
    row = {"model": object_id, "dataset": dataset["abbr"], "n": dataset["n"],
           "acc": f"{100 * sum(judged) / dataset['n']:.2f}"}
    for column, name in _SAMPLE:
        values = [float(sample[column]) for sample in samples if sample[column]]
        row[name] = f"{statistics.median(values):.2f}" if values else ""
    return {**row, **{column: case.get(column, "") for column in _CASE}}


def _write_table(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    # What nobody has is no column.
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    with open(folder / f"{TABLE}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row[column] if isinstance(row[column], str) else str(row[column]) for column in columns)
              + " |" for row in rows]
    (folder / f"{TABLE}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def config_of(out):
    """The config that evaluates what `collect` wrote into `out`."""
    return Path(out) / "configs" / "edgebench.py"


def _write_config(folder, out, objects):
    """The export's config with the objects of the run as models: an assignment further down counts."""
    source = folder / "config.py"
    if not source.exists():
        return
    path = config_of(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    models = ", ".join(f"dict(abbr={name!r})" for name in objects)
    text = source.read_text(encoding="utf-8")
    path.write_text(f"{text}\n# The objects that the board ran.\nmodels = [{models}]\n", encoding="utf-8")
