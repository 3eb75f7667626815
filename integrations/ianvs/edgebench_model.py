"""edgebench as an algorithm of KubeEdge Ianvs: a `basemodel` for the paradigm singletasklearning, with compression or
without. Ianvs asks for answers; edgebench gives them, from a process of its own, with all that it measured meanwhile.

Hyperparameters: `model`, `backend` (llama, or a plugin's path), `edgebench` (the program; default: $EDGEBENCH, or
edgebench), `chat`, `prompt` (a template), `max_tokens`, `stop`; all others (threads, n_ctx, …) are the backend's parameters.
"""

import csv
import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from sedna.common.class_factory import ClassFactory, ClassType

# A record of edgebench has an answer; here Ianvs is the one who judges, and nothing equals this.
_NO_ANSWER = "\u2205"


class Answers(list):
    """What the model wrote, in the order of the questions, with the figures of the run beside.

    `figures` are the columns of cases.csv that are numbers. `get("results")` is what the metrics of Ianvs' LLM edge
    example read: times in ms, memory in bytes.
    """

    def __init__(self, texts, figures, samples):
        super().__init__(texts)
        self.figures = figures
        memory = figures.get("rss_peak_mib", float("nan")) * 1024 * 1024
        self._results = [
            {"generated_text": text, "total_time": total, "prefill_latency": first, "mem_usage": memory}
            for text, (total, first) in zip(texts, samples)
        ]

    def get(self, key, default=None):
        """As of a dictionary."""
        return self._results if key == "results" else default


@ClassFactory.register(ClassType.GENERAL, alias="edgebench")
class Edgebench:
    """The class that Ianvs makes for each combination of hyperparameters."""

    def __init__(self, **hyperparameters):
        take = hyperparameters.pop
        self.program = take("edgebench", None) or os.environ.get("EDGEBENCH", "edgebench")
        self.backend = take("backend", "llama")
        self.model = take("model", None) or take("model_path", None) or ""
        self.chat = take("chat", False)
        self.max_tokens = take("max_tokens", 64)
        self.stop = take("stop", [])
        self.prompt = take("prompt", "{{ question }}")
        self.params = hyperparameters

    def preprocess(self, **_):
        """Nothing to do; anything else than None would make Ianvs call it twice."""
        return None

    def train(self, train_data, valid_data=None, **_):
        """Models are measured as they are."""
        return None

    def save(self, model_path):
        """None: Ianvs goes on with `initial_model_url`."""
        return None

    def load(self, model_url=None):
        """The model of the hyperparameters stays, unless there is none, or Ianvs comes with a compressed one."""
        compressed = model_url and model_url != os.environ.get("BASE_MODEL_URL")
        if model_url and (compressed or not self.model):
            self.model = model_url

    def predict(self, data, input_shape=None, **_):
        """Answers to all questions."""
        # With `metadata.json` Ianvs hands the whole data over.
        questions = list(getattr(data, "x", data))
        folder = Path(os.environ.get("RESULT_SAVED_URL") or tempfile.mkdtemp(prefix="edgebench-"))
        folder.mkdir(parents=True, exist_ok=True)
        lines = [{"id": str(i), "question": str(q), "answer": _NO_ANSWER} for i, q in enumerate(questions)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / "questions.jsonl").write_text(text, encoding="utf-8")
        (folder / "job.toml").write_text(self._job(), encoding="utf-8")
        command = [self.program, "run", str(folder / "job.toml"), "--out", str(folder / "run"), "--quiet"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stderr.strip()}")
        return _read(folder / "run", len(questions))

    def evaluate(self, data, model_path=None, **_):
        """Never called in single-task learning."""
        raise NotImplementedError("Ianvs' metrics judge the answers of predict()")

    def _job(self):
        lines = ["[[object]]", 'name = "model"', f"backend = {_toml(self.backend)}"]
        if self.model:
            lines.append(f"model = {_toml(os.path.abspath(self.model))}")
        if self.chat:
            lines.append(f"chat = {_toml(self.chat)}")
        if self.params:
            lines.append("params = { " + ", ".join(f"{k} = {_toml(v)}" for k, v in self.params.items()) + " }")
        lines += ["[[task]]", 'name = "questions"', 'dataset = "questions.jsonl"', 'method = "generate"']
        lines += [f"prompt = {_toml(self.prompt)}", f"stop = {_toml(self.stop)}", f"max_tokens = {_toml(self.max_tokens)}"]
        return "\n".join(lines) + "\n"


def _toml(value):
    """Strings, numbers, booleans and lists are written in TOML as in JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(run, count):
    """The answers of a run folder."""
    with open(run / "cases.csv", encoding="utf-8", newline="") as file:
        case = next(csv.DictReader(file))
    texts = [""] * count
    with open(run / "predictions.jsonl", encoding="utf-8") as file:
        for line in file:
            answer = json.loads(line)
            texts[int(answer["id"])] = answer.get("output", answer["prediction"]) or ""
    samples = [(float("nan"), float("nan"))] * count
    with open(run / "samples.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["pass"] == "1":
                samples[int(row["id"])] = (_number(row["e2e_ms"]), _number(row["ttft_ms"]))
    figures = {name: _number(value) for name, value in case.items()}
    return Answers(texts, {name: value for name, value in figures.items() if value == value}, samples)


def _number(text):
    """The number, or NaN where nothing was measured or it is none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
