"""The callback within the real `Trainer`, on the toy: needs transformers, accelerate, torch, gguf and edgebench with llama.cpp."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parents[1]
EDGEBENCH = os.environ.get("EDGEBENCH", str(ROOT / "target" / "release" / "edgebench"))
sys.path[:0] = [str(HERE), str(HERE / "example")]

try:
    import torch
    import transformers
    from edgebench_callback import EdgebenchCallback

    missing = None
except ImportError as e:
    missing = str(e)


@unittest.skipIf(missing, missing)
class Callback(unittest.TestCase):
    """Without a board: status.json as `watch` writes it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out, self.logged = Path(folder.name), []
        self.callback = EdgebenchCallback(self.out, self.logged.append)
        self.control = transformers.TrainerControl()

    def saved(self, step, **status):
        if status:
            (self.out / "status.json").write_text(json.dumps({"stop": False, "last": None} | status))
        state = transformers.TrainerState(global_step=step)
        self.callback.on_save(None, state, self.control)
        return self.control.should_training_stop

    def test_it_logs_each_verdict_once_and_stops_when_told(self):
        last = {"checkpoint": "checkpoint-10", "status": "ok", "step": 10, "metric": "acc", "value": 0.5, "lo": 0.4, "hi": 0.6}
        rest = {k: None for k in ("perplexity", "decode_tok_s", "ttft_ms_p50", "rss_peak_mib")}
        self.assertFalse(self.saved(10), "there is no verdict yet")
        self.assertFalse(self.saved(20, last=last | rest))
        self.assertFalse(self.saved(30))
        self.assertEqual(self.logged, [{"board/step": 10, "board/acc": 0.5, "board/lo": 0.4, "board/hi": 0.6}])
        failed = {"checkpoint": "checkpoint-20", "status": "crashed"}
        self.assertTrue(self.saved(40, last=failed, stop=True))
        self.assertEqual(len(self.logged), 1)


@unittest.skipIf(missing, missing)
class Toy(unittest.TestCase):
    """Trainer, checkpoints, converter, watch, llama.cpp: all of it."""

    def test_the_converter_gives_back_the_model_that_it_was_given(self):
        import convert

        names, _ = convert.demo.read_gguf(convert.MODEL)
        weights, _ = convert.demo_weights()
        for name, tensor in names.items():
            back = convert.turn(weights[convert.hf_name(name)], name, False)
            self.assertTrue(torch.equal(back, tensor), name)

    def test_the_board_ends_the_training(self):
        with tempfile.TemporaryDirectory() as folder:
            out = subprocess.run(
                [sys.executable, HERE / "example" / "train.py", folder],
                env=os.environ | {"EDGEBENCH": EDGEBENCH}, capture_output=True, text=True, timeout=900,
            )
            self.assertEqual(out.returncode, 0, out.stderr[-2000:])
            with (Path(folder) / "watch" / "curve.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            status = json.loads((Path(folder) / "watch" / "status.json").read_text())
            best = (Path(folder) / "watch" / "best.gguf").stat().st_size
        # A folder that was taken too early is evaluated again.
        self.assertEqual({r["status"] for r in {r["checkpoint"]: r for r in rows}.values()}, {"ok"}, rows)
        rows = [r for r in rows if r["status"] == "ok"]
        self.assertTrue(status["stop"])
        self.assertGreater(best, 1_000_000)
        self.assertGreater(float(status["best"]["value"]), 0.7, "the new task has been learnt")
        self.assertIn(f"stopped at step {rows[-1]['step']} of 400", out.stdout)
        self.assertEqual(out.stdout.count("\nstep ") + out.stdout.startswith("step "), len(rows), "each verdict was logged")


if __name__ == "__main__":
    unittest.main()
