"""Prompts become records and a job that edgebench finds sound."""

import json
import subprocess
import unittest

from support import EDGEBENCH, InFolder, evaluator, needs_edgebench

from edgebench_oc import Failure, config, export
from edgebench_oc.opencompass_side import Prompts, Record

SETTINGS = config.Settings(name="test", model=["model.gguf"], params={})


def law(abbr="cmmlu-law"):
    """Two items of ppl."""
    records = [Record("Is it so?", gold, choices=["Is it so? A", "Is it so? B"]) for gold in "AB"]
    return Prompts(abbr, records, labels=["A", "B"])


def sums():
    """Two items of generation, the first in several turns."""
    turns = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2 + 2?"},
    ]
    records = [
        Record("1 + 1?\n2\n2 + 2?", "4", messages=turns),
        Record("3 + 3?", 6, messages=[{"role": "user", "content": "3 + 3?"}]),
    ]
    return Prompts("gsm8k", records, stop=["Question:"], max_out_len=16)


EVAL = {"cmmlu-law": evaluator("AccEvaluator"), "cmmlu-art": evaluator("AccEvaluator"),
        "gsm8k": evaluator("Gsm8kEvaluator", "gsm8k_postprocess")}


class Export(InFolder):
    def write(self, prompts, models=(("board", False),), settings=SETTINGS):
        return export.write(self.folder, prompts, EVAL, list(models), settings, "eval.py")

    def lines(self, name):
        return [json.loads(line) for line in (self.folder / "data" / name).read_text(encoding="utf-8").splitlines()]

    def test_prompts_are_written_as_they_are(self):
        self.assertEqual(self.write([law(), law("cmmlu-art"), sums()]), [])
        one, two = self.lines("gsm8k.jsonl")
        self.assertEqual((one["id"], one["question"], one["answer"], len(one["messages"])), ("0", "1 + 1?\n2\n2 + 2?", "4", 3))
        self.assertNotIn("messages", two, "a single turn of the same text says nothing more")
        self.assertEqual(two["answer"], "6")
        self.assertEqual(self.lines("cmmlu-law.jsonl")[1]["answer"], 1)
        job = (self.folder / "job.toml").read_text(encoding="utf-8")
        self.assertIn('name = "cmmlu"\ndataset = ["data/cmmlu-law.jsonl", "data/cmmlu-art.jsonl"]\n', job)
        self.assertIn('stop = ["Question:"]\nmax_tokens = 16\nextract = ["before:Question:", "last_number"]\n', job)
        index = json.loads((self.folder / "export.json").read_text())
        self.assertEqual([d["abbr"] for d in index["tasks"]["cmmlu"]], ["cmmlu-law", "cmmlu-art"])

    @needs_edgebench
    def test_the_job_is_sound(self):
        settings = config.Settings(name="test", backend=self.mock(), params={"seed": 1})
        settings.model = ["model.gguf"]
        (self.folder / "model.gguf").write_text("GGUF")
        self.write([law(), sums()], models=[("board", True), ("other", False)], settings=settings)
        done = subprocess.run([EDGEBENCH, "check", "job.toml"], cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("4 test cases (2 object instances × 2 tasks)", done.stdout)

    def test_what_cannot_be_judged_or_asked_is_said(self):
        EVAL["odd"] = evaluator("MATHEvaluator")
        odd = Prompts("odd", [Record("q", None)], chat_only=True)
        notes = self.write([odd, law()], models=[("a", False), ("b", True)])
        self.assertEqual(len(notes), 3, notes)
        self.assertTrue(notes[0].startswith("odd: judged by OpenCompass only: MATHEvaluator is Python"))
        wrong = Prompts("cmmlu-law", [Record("q", "C", choices=["a", "b"])], labels=["A", "B"])
        with self.assertRaisesRegex(Failure, "the answer of item 0, 'C', is none of"):
            self.write([wrong])

    def test_a_foreign_job_is_left_alone(self):
        (self.folder / "job.toml").write_text("[[object]]\n")
        with self.assertRaisesRegex(Failure, "not from an export"):
            self.write([law()])

    def test_values_are_toml(self):
        self.assertEqual(export.toml({"a": 1, "b": ["x\n\"", True, 0.5]}), '{ a = 1, b = ["x\\n\\"", true, 0.5] }')


class Toml(InFolder):
    def test_slips_in_a_toml_config_are_told(self):
        path = self.folder / "c.toml"
        for text, words in [
            ("datasets = ", "not TOML"),
            ("data = 'x'", "name what is asked"),
            ("datasets = ['a']\nshots = 5", "`shots` is not known"),
            ("datasets = ['a']\nlimit = true", "`limit` has the wrong type"),
            ("datasets = ['a']\nmethod = 'chat'", "`method` is"),
        ]:
            path.write_text(text)
            with self.assertRaisesRegex(Failure, words):
                config.toml_settings(path)
        path.write_text("datasets = ['cmmlu', 'gsm8k']\nlimit = 5\n")
        self.assertEqual(config.toml_settings(path)["limit"], 5)


if __name__ == "__main__":
    unittest.main()
