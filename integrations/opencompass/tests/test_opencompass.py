"""With OpenCompass itself: prompts are what it hands to a model, and its summary is what the board counted.

EDGEBENCH_DATA: a folder with cmmlu/ and gsm8k/. EDGEBENCH_BACKEND: llama by default, or the path of that plugin.
EDGEBENCH_OC_RECORDS: how many records of each dataset (4). EDGEBENCH_OC_KEEP: a folder for the summary and the table.
"""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from support import EDGEBENCH, ROOT, InFolder

from edgebench_oc import config, opencompass_side

DATA = os.environ.get("EDGEBENCH_DATA")
RECORDS = int(os.environ.get("EDGEBENCH_OC_RECORDS", "4"))
THERE = importlib.util.find_spec("opencompass") is not None
opencompass_side.quiet()

# An ordinary config, as users write them.
CONFIG = '''
from mmengine.config import read_base

with read_base():
    from opencompass.configs.datasets.cmmlu.cmmlu_ppl_041cbf import cmmlu_datasets as ppl_datasets
    from opencompass.configs.datasets.cmmlu.cmmlu_gen_c13365 import cmmlu_datasets as gen_datasets
    from opencompass.configs.datasets.cmmlu.cmmlu_0shot_cot_gen_305931 import cmmlu_datasets as cot_datasets
    from opencompass.configs.datasets.gsm8k.gsm8k_gen_1d7fe4 import gsm8k_datasets

subjects = {subjects}
datasets = []
for kind, part in [("ppl", ppl_datasets), ("gen", gen_datasets), ("cot", cot_datasets)]:
    for one in part:
        if one["name"] in subjects:
            one["abbr"] = one["abbr"] + "-" + kind
            datasets.append(one)
datasets += gsm8k_datasets
for one in datasets:
    one["reader_cfg"]["test_range"] = "[0:{records}]"
models = [dict(abbr="board")]
summarizer = dict(summary_groups=[
    dict(name="cmmlu-" + kind, subsets=["cmmlu-" + name + "-" + kind for name in subjects]) for kind in ("ppl", "gen", "cot")
])
del kind, part, one
'''


@unittest.skipUnless(THERE, 'needs OpenCompass: pip install opencompass==0.5.4 "pyarrow<22"')
@unittest.skipUnless(DATA, "needs EDGEBENCH_DATA")
class Real(InFolder):
    def setUp(self):
        super().setUp()
        cache = self.folder / "cache" / "data"
        cache.mkdir(parents=True)
        (cache / "cmmlu").symlink_to(Path(DATA).resolve() / "cmmlu")
        (cache / "gsm8k").mkdir()
        for split, name in [("test", "test.jsonl"), ("train", "train_head64.jsonl")]:
            (cache / "gsm8k" / f"{split}.jsonl").symlink_to(Path(DATA).resolve() / "gsm8k" / name)
        os.environ["COMPASS_DATA_CACHE"] = str(cache.parent)
        self.subjects = sorted(path.stem for path in Path(DATA, "cmmlu", "test").glob("*.csv"))

    def write_config(self, subjects, records):
        path = self.folder / "eval.py"
        path.write_text(CONFIG.format(subjects=subjects, records=records))
        return path

    def test_prompts_are_those_that_a_model_gets(self):
        wanted = config.read(self.write_config(self.subjects[:2], 2))
        for dataset in wanted.config["datasets"]:
            made = opencompass_side.prompts(dataset, {})
            for chat in (False, True):
                if made.labels and chat:
                    continue
                seen = _recorded(dataset, chat, self.folder / "infer")
                if made.labels:
                    mine = [record.choices[i] for i in range(len(made.labels)) for record in made.records]
                else:
                    mine = [record.messages if chat else record.text for record in made.records]
                self.assertEqual(mine, seen, made.abbr)

    @unittest.skipUnless(EDGEBENCH, "needs edgebench: cargo build --release, or EDGEBENCH")
    def test_the_summary_is_what_the_board_counted(self):
        path = self.write_config(self.subjects, RECORDS)
        # The demo's model has no chat template of its own, and knows nothing of this: what matters is that both say so alike.
        model = ROOT / "datasets" / "demo" / "demo-f16.gguf"
        backend = os.environ.get("EDGEBENCH_BACKEND", "llama")
        command = [sys.executable, "-m", "edgebench_oc", "run", str(path), "--local", "--edgebench", EDGEBENCH]
        command += ["--model", str(model), "--backend", backend, "--param", "n_ctx=8192", "--param", "threads=1"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "integrations" / "opencompass")}
        log = self.folder / "log"
        with open(log, "w") as file:
            done = subprocess.run(command, cwd=self.folder, env=environment, stdout=file, stderr=file, check=False)
        code = done.returncode
        self.assertEqual(code, 0, log.read_text()[-4000:])
        [out] = [path for path in (self.folder / "outputs" / "eval").iterdir() if path.name[0] == "2"]
        [summary] = (out / "summary").glob("summary_*.csv")
        if os.environ.get("EDGEBENCH_OC_KEEP"):
            shutil.copytree(out / "summary", os.environ["EDGEBENCH_OC_KEEP"], dirs_exist_ok=True)
        theirs = {row["dataset"]: row["board"] for row in _rows(summary) if row["metric"] == "accuracy"}
        ours = {row["dataset"]: row["acc"] for row in _rows(out / "summary" / "edgebench.csv")}
        self.assertEqual(len(ours), 3 * len(self.subjects) + 1)
        for dataset, acc in ours.items():
            self.assertEqual(theirs[dataset], acc, dataset)
        # The summary alone, anew.
        before = _rows(summary)
        summary.unlink()
        command = [sys.executable, "-m", "opencompass.cli.main", str(out / "configs" / "edgebench.py"), "-w", str(out.parent)]
        command += ["-m", "viz", "-r", out.name, "--debug"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        [summary] = (out / "summary").glob("summary_*.csv")
        self.assertEqual(_rows(summary), before)

    def test_a_few_lines_of_toml_are_enough(self):
        path = self.folder / "few.toml"
        path.write_text('datasets = ["cmmlu", "gsm8k"]\nonly = ["*agronomy", "*anatomy", "gsm8k"]\nlimit = 2\ndata = "cache"\n')
        command = [sys.executable, "-m", "edgebench_oc", "export", str(path), "-o", str(self.folder / "few")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "integrations" / "opencompass")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        tasks = self.json("few", "export.json")["tasks"]
        self.assertEqual({d["abbr"]: d["n"] for task in tasks.values() for d in task},
                         {"cmmlu-agronomy": 2, "cmmlu-anatomy": 2, "gsm8k": 2})


def _rows(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _recorded(dataset_cfg, chat, folder):
    """What OpenCompass' own inferencer hands to a model, in its order."""
    import numpy
    import torch  # noqa: F401  (the inferencers need it)
    from opencompass.models.base import BaseModel
    from opencompass.models.huggingface_above_v4_33 import _convert_chat_messages, _get_meta_template
    from opencompass.registry import ICL_INFERENCERS

    class Recorder(BaseModel):
        """A model that only listens."""

        def __init__(self):
            super().__init__(path="")
            self.seen = []
            if chat:
                self.template_parser = _get_meta_template(None)

        def generate(self, inputs, max_out_len, stopping_criteria=()):
            self.seen += _convert_chat_messages(inputs) if chat else inputs
            return ["nothing"] * len(inputs)

        def get_ppl(self, inputs, mask_length=None):
            self.seen += inputs
            return numpy.zeros(len(inputs))

        def get_token_len(self, prompt):
            return 1

    model = Recorder()
    _, retriever, templates = opencompass_side._parts(dataset_cfg)
    cfg = {"max_out_len": 8, **dataset_cfg["infer_cfg"]["inferencer"], "model": model, "batch_size": 1}
    where = folder / ("chat" if chat else "plain")
    where.mkdir(parents=True, exist_ok=True)
    ICL_INFERENCERS.build(cfg).inference(
        retriever, output_json_filepath=str(where), output_json_filename=f"{dataset_cfg['abbr']}.json", **templates
    )
    return model.seen


if __name__ == "__main__":
    unittest.main()
