"""A run, here or on a board, becomes OpenCompass' predictions."""

import contextlib
import csv
import io
import os
import stat
import unittest
from unittest import mock as patches

from support import EDGEBENCH, InFolder, needs_edgebench
from test_export import EVAL, law, sums

from edgebench_oc import Failure, board, cli, collect, config, export


@needs_edgebench
class Run(InFolder):
    def setUp(self):
        super().setUp()
        self.job = self.folder / "job"
        (self.job).mkdir()
        (self.job / "model.gguf").write_text("GGUF")
        (self.job / "config.py").write_text("models = []\n")

    def export(self, **params):
        settings = config.Settings(name="test", model=["model.gguf"], backend=self.mock(), params=params)
        export.write(self.job, [law(), law("cmmlu-art"), sums()], EVAL, [("board", False)], settings, "eval.py")

    def test_predictions_have_opencompass_layout_without_a_gap(self):
        self.export(text="is\n 4, not 5")
        run = board.local(self.job, EDGEBENCH)
        objects, notes = collect.collect(run, self.folder / "outputs/name/stamp")
        self.assertEqual((objects, notes), (["board"], []))
        place = ("outputs", "name", "stamp", "predictions", "board")
        sums_ = self.json(*place, "gsm8k.json")
        self.assertEqual(list(sums_), ["0", "1"])
        self.assertEqual(sums_["0"]["prediction"], "is\n 4, not 5", "all of it, as the model wrote it")
        self.assertEqual(sums_["1"]["gold"], "6")
        labels = self.json(*place, "cmmlu-art.json")
        for entry in labels.values():
            ppl = {label: entry[f"label: {label}"]["PPL"] for label in "AB"}
            self.assertEqual(entry["prediction"], min(ppl, key=ppl.get))
            self.assertGreater(ppl["A"], 0)
        with open(self.folder / "outputs/name/stamp/summary/edgebench.csv", newline="", encoding="utf-8") as file:
            table = {row["dataset"]: row for row in csv.DictReader(file)}
        self.assertEqual(set(table), {"cmmlu-law", "cmmlu-art", "gsm8k"})
        self.assertEqual(table["gsm8k"]["acc"], "0.00", "the last number is 5")
        right = sum(entry["prediction"] == entry["gold"] for entry in labels.values())
        self.assertEqual(table["cmmlu-art"]["acc"], f"{100 * right / 2:.2f}")
        self.assertGreaterEqual(float(table["gsm8k"]["ttft_ms_p50"]), 0)
        written = collect.config_of(self.folder / "outputs/name/stamp").read_text()
        self.assertTrue(written.endswith("models = [dict(abbr='board')]\n"))

    def test_records_without_an_answer_are_filled_in_and_said(self):
        self.export(fault="segv", fault_at=2)
        run = board.local(self.job, EDGEBENCH)
        _, notes = collect.collect(run, self.folder / "out")
        self.assertTrue(any("crashed" in note for note in notes), notes)
        self.assertTrue(any("records have no answer" in note for note in notes), notes)
        for name in ("gsm8k", "cmmlu-law", "cmmlu-art"):
            self.assertEqual(list(self.json("out", "predictions", "board", f"{name}.json")), ["0", "1"])

    def test_a_board_is_reached_through_ssh_and_scp(self):
        self.export(text="4")
        there = self.folder / "the board's disk"
        there.mkdir()
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        # ssh runs the command as the remote shell would, scp copies; both note their arguments.
        for name, text in {
            "ssh": 'shift 2; host="$1"; shift; [ "$host" = pi@board ] || exit 255; sh -c "$*"',
            "scp": 'for a; do shift; case "$a" in -q|-r|-o|BatchMode=yes) ;; pi@board:*) set -- "$@" "${a#pi@board:}" ;; '
                   '*) set -- "$@" "$a" ;; esac; done; cp -r "$@"',
        }.items():
            path = bin_folder / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        os.symlink(EDGEBENCH, there / "edgebench")
        with patches.patch.dict(os.environ, {"PATH": f"{bin_folder}:{os.environ['PATH']}"}):
            # The model is the board's, beside the job there.
            (there / "job").mkdir()
            (there / "job" / "model.gguf").write_text("GGUF")
            run = board.remote(self.job, f"pi@board:{there}", "./edgebench")
            again = board.remote(self.job, f"pi@board:{there}", "./edgebench")
            self.assertNotEqual(run, again)
            with self.assertRaisesRegex(Failure, "exit code 255"):
                board.remote(self.job, f"pi@elsewhere:{there}", "./edgebench")
        objects, notes = collect.collect(again, self.folder / "out")
        self.assertEqual((objects, notes), (["board"], []))
        self.assertEqual(self.json("out", "predictions", "board", "gsm8k.json")["0"]["prediction"], "4")

    def test_what_is_no_run_is_told(self):
        self.export()
        with contextlib.redirect_stderr(io.StringIO()) as told:
            code = cli.main(["collect", str(self.job), "-o", str(self.folder / "out")])
        self.assertEqual(code, 2)
        self.assertIn("give the folder of a run", told.getvalue())
        for wrong in ("pi@board", ":/x", "-oProxyCommand=x:/y"):
            with self.assertRaisesRegex(Failure, "user@host:/path"):
                board.remote(self.job, wrong, "./edgebench")


if __name__ == "__main__":
    unittest.main()
