"""Stands in for KubeEdge Ianvs where that is not at hand: what its current main does with a job of the paradigm
singletasklearning, call by call, as far as models, metrics and the leaderboard's columns are concerned. The job is given as
the dictionaries that its YAML files hold.

    python ianvs.py JOB.json     # {"benchmarkingjob": …, "testenv": …, "algorithms": {NAME: …}}
"""

import csv
import importlib
import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from sedna.common.class_factory import ClassFactory, ClassType


def run(job, testenv, algorithms):
    """Runs all test cases; the rows of all_rank.csv, which is written, too."""
    workspace = Path(job["workspace"]) / job["name"]
    questions, answers = _data(testenv["dataset"]["test_data"])
    rows = []
    for name, algorithm in algorithms.items():
        [module] = [m for m in algorithm["modules"] if m["type"] == "basemodel"]
        for hyperparameters in _combinations(module.get("hyperparameters", [])):
            case = workspace / name / str(uuid.uuid1())
            _load(module["url"])
            model = ClassFactory.get_cls(ClassType.GENERAL, module["name"])(**hyperparameters)
            predictions = _paradigm(model, algorithm, case, questions)
            metrics = {}
            for metric in testenv["metrics"]:
                _load(metric["url"])
                function = ClassFactory.get_cls(ClassType.GENERAL, metric["name"])
                metrics[metric["name"]] = function(answers, predictions)
            row = {"algorithm": name, **metrics, "paradigm": algorithm["paradigm_type"], "basemodel": module["name"]}
            row.update({f"basemodel-{key}": str(value) for key, value in hyperparameters.items()})
            rows.append({**row, "time": time.strftime("%Y-%m-%d %H:%M:%S"), "url": str(case)})
    for key in reversed(job["rank"]["sort_by"]):
        [(metric, order)] = key.items()
        rows.sort(key=lambda row: row[metric], reverse=order != "ascend")
    _write(workspace / "rank", rows)
    return rows


def _paradigm(model, algorithm, case, questions):
    """Single-task learning: the calls that a model gets, in their order."""
    initial = algorithm.get("initial_model_url", "")
    if model.preprocess() is not None:
        model.preprocess()
    os.environ["BASE_MODEL_URL"] = initial
    model.train(None)
    trained = model.save(str(case / "output/train/")) or initial
    if algorithm.get("mode") == "with_compression":
        trained = _compress(algorithm, trained)
    os.environ["RESULT_SAVED_URL"] = str(case / "output/inference/")
    model.load(trained)
    return model.predict(questions)


def _compress(algorithm, trained):
    quantize, kind = algorithm.get("llama_quantize_path"), algorithm.get("quantization_type")
    if not os.path.exists(trained) or not quantize or not os.path.exists(quantize) or kind is None:
        return None
    compressed = trained.replace(".gguf", f"_{kind}.gguf")
    try:
        subprocess.run([quantize, trained, compressed, kind], check=True)
    except subprocess.CalledProcessError:
        return trained
    return compressed


def _data(path):
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [line["question"] for line in lines], [line["answer"] for line in lines]


def _combinations(hyperparameters):
    named = [next(iter(entry.items())) for entry in hyperparameters]
    for values in itertools.product(*(value["values"] for _, value in named)):
        yield dict(zip((name for name, _ in named), values))


def _load(url):
    folder, file = os.path.split(url)
    sys.path.insert(0, folder)
    importlib.import_module(file.split(".")[0])
    sys.path.pop(0)


def _write(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "all_rank.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["rank", *rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"rank": i + 1, **row} for i, row in enumerate(rows))


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    run(given["benchmarkingjob"], given["testenv"], given["algorithms"])
