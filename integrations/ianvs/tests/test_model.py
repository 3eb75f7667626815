"""Ianvs runs edgebench as its algorithm. With the stand-in under double/; scripts/test-integrations runs the same job with
Ianvs itself where IANVS_HOME names a checkout.

EDGEBENCH: the program, by default the one that cargo built; without it, or without a C compiler, there is no test.
"""

import csv
import json
import math
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILT = [ROOT / "target" / profile / "edgebench" for profile in ("release", "debug")]
EDGEBENCH = os.environ.get("EDGEBENCH") or next((str(path) for path in BUILT if path.exists()), None)


@unittest.skipUnless(EDGEBENCH and shutil.which("cc"), "needs edgebench (cargo build, or EDGEBENCH) and a C compiler")
class Job(unittest.TestCase):
    """A job with the mock backend, run as Ianvs does."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.mock = self.folder / "libmock.so"
        source = ROOT / "backends" / "mock" / "mock.c"
        flags = ["-std=c99", "-O1", "-shared", "-fPIC", "-I", str(ROOT / "backends")]
        subprocess.run(["cc", *flags, str(source), "-o", str(self.mock), "-lm", "-lpthread"], check=True)
        data = [{"question": f"What is {i}?", "answer": "BA"[i % 2]} for i in range(4)]
        (self.folder / "data.jsonl").write_text("".join(json.dumps(d) + "\n" for d in data))

    def run_job(self, hyperparameters, metrics, sort_by, **algorithm):
        """The rows of all_rank.csv; Ianvs is a process of its own, as its class registry and environment are global."""
        module = {"type": "basemodel", "name": "edgebench", "url": str(HERE.parent / "edgebench_model.py")}
        module["hyperparameters"] = [{key: {"values": values}} for key, values in hyperparameters.items()]
        url = str(HERE.parent / "edgebench_metrics.py")
        job = {
            "benchmarkingjob": {"name": "job", "workspace": "workspace", "rank": {"sort_by": sort_by}},
            "testenv": {"dataset": {"test_data": "data.jsonl"}, "metrics": [{"name": m, "url": url} for m in metrics]},
            "algorithms": {"mine": {"paradigm_type": "singletasklearning", "modules": [module], **algorithm}},
        }
        (self.folder / "job.json").write_text(json.dumps(job))
        environment = {**os.environ, "EDGEBENCH": EDGEBENCH, "PYTHONPATH": str(HERE / "double")}
        command = [sys.executable, str(HERE / "double" / "ianvs.py"), "job.json"]
        self.done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if self.done.returncode:
            return []
        with open(self.folder / "workspace/job/rank/all_rank.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def test_quality_speed_memory_and_energy_are_in_the_leaderboard(self):
        rows = self.run_job(
            {"backend": [str(self.mock)], "text": ["It is B.", "A"], "token_us": [1000]},
            ["acc", "ttft_ms_p50", "e2e_ms_p50", "decode_tok_s", "rss_peak_mib", "energy_j_per_token"],
            [{"acc": "descend"}, {"e2e_ms_p50": "ascend"}],
        )
        self.assertEqual(len(rows), 2, self.done.stderr)
        self.assertEqual([row["acc"] for row in rows], ["0.5", "0.5"], "the last letter counts")
        self.assertLess(float(rows[0]["e2e_ms_p50"]), float(rows[1]["e2e_ms_p50"]), "one token takes less time than eight")
        self.assertEqual(rows[0]["basemodel-text"], "A")
        for row in rows:
            self.assertGreater(float(row["ttft_ms_p50"]), 0)
            self.assertGreater(float(row["rss_peak_mib"]), 0)
            # Energy is measured only where the machine has a meter.
            self.assertTrue(math.isnan(float(row["energy_j_per_token"])) or float(row["energy_j_per_token"]) > 0)

    def test_the_compressed_model_is_what_is_measured(self):
        model = self.folder / "m.gguf"
        model.write_text("GGUF")
        quantize = self.folder / "llama-quantize"
        quantize.write_text("#!/bin/sh\ncp \"$1\" \"$2\"\n")
        quantize.chmod(quantize.stat().st_mode | stat.S_IXUSR)
        for hyperparameters in ({}, {"model": ["m.gguf"]}):
            rows = self.run_job(
                {"backend": [str(self.mock)], **hyperparameters}, ["decode_tok_s"], [{"decode_tok_s": "descend"}],
                mode="with_compression", initial_model_url="m.gguf", quantization_type="q8_0",
                llama_quantize_path=str(quantize),
            )
            job = (self.folder / rows[0]["url"] / "output/inference/job.toml").read_text()
            self.assertIn("m_q8_0.gguf", job)

    def test_models_of_the_hyperparameters_are_swept(self):
        for name in ("a.gguf", "b.gguf"):
            (self.folder / name).write_text("GGUF")
        rows = self.run_job(
            {"backend": [str(self.mock)], "model": ["a.gguf", "b.gguf"]}, ["acc"], [{"acc": "descend"}],
            initial_model_url="a.gguf",
        )
        jobs = [(self.folder / row["url"] / "output/inference/job.toml").read_text() for row in rows]
        self.assertEqual(sum("b.gguf" in job for job in jobs), 1)

    def test_the_metrics_of_ianvs_own_example_read_it_too(self):
        (self.folder / "stock.py").write_text(
            "from sedna.common.class_factory import ClassFactory, ClassType\n"
            "for _key in ('total_time', 'prefill_latency', 'mem_usage'):\n"
            "    def _mean(y_true, y_pred, key=_key):\n"
            "        results = y_pred.get('results', [])\n"
            "        return sum(result[key] for result in results) / len(results)\n"
            "    ClassFactory.register(ClassType.GENERAL, alias=_key)(_mean)\n"
        )
        script = (
            "import sys, json; sys.path[:0] = [sys.argv[1], '.']\n"
            "import edgebench_model, stock\n"
            "from sedna.common.class_factory import ClassFactory, ClassType\n"
            "model = edgebench_model.Edgebench(backend=sys.argv[2], text='It is B.')\n"
            "model.load('')\n"
            "answers = model.predict(['One?', 'Two?'])\n"
            "figures = {k: ClassFactory.get_cls(ClassType.GENERAL, k)(None, answers) for k in "
            "('total_time', 'prefill_latency', 'mem_usage')}\n"
            "print(json.dumps({'texts': list(answers), **figures}))\n"
        )
        environment = {**os.environ, "EDGEBENCH": EDGEBENCH, "PYTHONPATH": str(HERE / "double")}
        done = subprocess.run([sys.executable, "-c", script, str(HERE.parent), str(self.mock)], cwd=self.folder,
                              env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        figures = json.loads(done.stdout)
        self.assertEqual(figures["texts"], ["It is B.", "It is B."])
        self.assertGreaterEqual(figures["total_time"], figures["prefill_latency"])
        self.assertGreater(figures["mem_usage"], 1 << 20, "bytes")

    def test_what_edgebench_says_is_not_lost(self):
        self.run_job({"backend": [str(self.mock)], "nonsense": [1]}, ["acc"], [{"acc": "descend"}])
        self.assertNotEqual(self.done.returncode, 0)
        self.assertIn("nonsense", self.done.stderr)


if __name__ == "__main__":
    unittest.main()
