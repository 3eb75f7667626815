#!/usr/bin/env python3
"""Train while the board judges: fine-tune the demo model, and let `edgebench watch` choose.

    python scripts/train_live.py            # or: python scripts/train_demo.py live

The demo model learns a task that it has never seen ("smallest number") and must
not forget the old ones. At which learning rate? Successive halving: each of
--rates gets --rung steps, the better half of them twice as many, and so on until
one is left; that one is trained until the board sees no significant gain any
more (a plateau), or for --max-steps. Nothing is decided by the training's own loss:
every figure comes from edgebench, which runs beside it as a process for each rate
(`watch`, job: datasets/demo/watch.toml) and evaluates each checkpoint as it appears.

OUT (target/train-live/) gets
    halving.csv           rung, setting, step, metric with interval, kept or dropped, and why
    lr-RATE/checkpoints/  step-0000.gguf ...; written under another name, then renamed
    lr-RATE/watch/        curve.csv, status.json, best.gguf and the runs, by edgebench
    lr-RATE/state.pt      weights and optimizer, to go on from
    report.html           learning curves of all rates

After kill -9, of this or of `watch`, the same command goes on where it was: steps
draw their samples from the step's number, so what comes out is the same.

Needs torch, numpy and gguf, and a built edgebench (--edgebench); see train_demo.py.
"""

import argparse
import csv
import datetime
import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import train_demo as demo
from train_demo import F, ROOT, np, torch

JOB = ROOT / "datasets" / "demo" / "watch.toml"
ROWS = 24  # samples of a step, every other one of the new task
NEW = demo.TASKS["smallest"]
REFUSED, PLATEAU = 2, 4  # exit codes of `watch`
FIELDS = "time rung setting step checkpoint metric value lo hi n p decision reason".split()


def replace(path, write):
    """Writes a file under another name, then renames it: nobody sees half of it."""
    part = path.with_name("." + path.name + ".part")
    write(part)
    os.replace(part, path)


class Board:
    """`edgebench watch` on the checkpoints of one setting, as a process of its own."""

    def __init__(self, folder, edgebench, job):
        self.out, self.process = folder / "watch", None
        self.log = folder / "watch.log"
        self.command = [edgebench, "watch", folder / "checkpoints", "--job", job, "--out", self.out, "--poll", "200"]

    def ensure(self):
        """Starts it if it is not there: for the first time, or because somebody has killed it. An earlier one
        that still holds the folder ends by itself, so that the next try does it."""
        code = None if self.process is None else self.process.poll()
        if code == REFUSED:
            sys.exit(f"{self.log}: edgebench refuses the job")
        if self.process is None or code not in (None, PLATEAU):
            with self.log.open("a") as log:
                self.process = subprocess.Popen([*self.command, "--pid", str(os.getpid())], stdout=log, stderr=log)

    def says_stop(self):
        self.ensure()
        try:
            return json.loads((self.out / "status.json").read_text())["stop"]
        except FileNotFoundError:
            return False

    def points(self):
        """Rows of curve.csv that have a value."""
        try:
            with (self.out / "curve.csv").open(newline="") as file:
                return [row for row in csv.DictReader(file) if row["status"] == "ok"]
        except FileNotFoundError:
            return []

    def judged(self, name, patience=600):
        """The row of a checkpoint, when it has one; the last row, when the board has seen enough."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            stop, points = self.says_stop(), self.points()
            found = [p for p in points if p["checkpoint"] == name] or (points[-1:] if stop else [])
            if found:
                return found[-1]
            time.sleep(0.2)
        sys.exit(f"{self.log}: the board has not judged {name} within {patience} s")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


class Setting:
    """The model at one learning rate."""

    def __init__(self, rate, args):
        self.rate, self.args, self.name = rate, args, f"lr-{rate:g}"
        self.folder = args.out / self.name
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.board = Board(self.folder, args.edgebench, args.job)
        self.step, self.w, self.state = 0, None, self.folder / "state.pt"

    def load(self):
        """The base model, or where an earlier process was."""
        w, self.tok = demo.read_gguf(demo.DATA / "demo-f16.gguf")
        self.w = {k: v.requires_grad_() for k, v in w.items()}
        self.adam = torch.optim.AdamW(self.w.values(), lr=self.rate, betas=(0.9, 0.98), weight_decay=0.0)
        if self.state.exists():
            saved = torch.load(self.state, weights_only=True)
            self.step = saved["step"]
            self.adam.load_state_dict(saved["adam"])
            with torch.no_grad():
                for k, v in self.w.items():
                    v.copy_(saved["w"][k])
            print(f"{self.name}: goes on at step {self.step}", flush=True)
        else:
            self.save()

    def checkpoint(self, step):
        return f"step-{step:04}.gguf"

    def save(self):
        """A checkpoint for the board, then the state to go on from. One that is there already is the same, and the
        board may be at it."""
        path = self.folder / "checkpoints" / self.checkpoint(self.step)
        if not path.exists():
            replace(path, lambda part: demo.write_gguf(part, self.w, self.tok))
        state = {"step": self.step, "adam": self.adam.state_dict(), "w": {k: v.detach() for k, v in self.w.items()}}
        replace(self.state, lambda part: torch.save(state, part))

    def samples(self):
        """Ids and loss weights of the next step, drawn from its number."""
        rng = random.Random(f"{self.args.seed}/live/{self.step}")
        documents = []
        for row in range(ROWS):
            task = NEW if row % 2 else demo.draw_task(rng)
            record = demo.draw(task, rng, "train")[1]
            documents.append(demo.encode_document(self.tok, [(demo.prompt_of(task, record), " " + record["answer"])]))
        ids = torch.full((ROWS, max(len(i) for i, _ in documents)), self.tok.EOS)
        weights = torch.zeros(ids.shape)
        for row, (i, w) in enumerate(documents):
            ids[row, : len(i)], weights[row, : len(w)] = torch.tensor(i), torch.tensor(w)
        return ids, weights[:, 1:].flatten()

    def train_to(self, steps):
        """Trains until step `steps`, or until the board says that there is nothing to gain; True if it was the board."""
        if self.w is None:
            self.load()
        while self.step < steps:
            if self.step % self.args.every == 0 and self.board.says_stop():
                return True
            ids, weights = self.samples()
            logits = demo.forward(self.w, ids[:, :-1]) @ self.w["token_embd.weight"].T
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            loss = (loss * weights).sum() / weights.sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.w.values(), 1.0)
            self.adam.step()
            self.adam.zero_grad()
            self.step += 1
            if self.step % self.args.every == 0:
                self.save()
                print(f"{self.name}: step {self.step}, training loss {loss.item():.3f}", flush=True)
        return self.board.says_stop()


class Record:
    """halving.csv: what was decided, and why. An earlier process' decisions stand."""

    def __init__(self, path):
        self.path, self.rows = path, []
        if path.exists():
            with path.open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    def of(self, rung):
        return [r for r in self.rows if r["rung"] == str(rung)]

    def add(self, rows):
        self.rows += rows

        def write(part):
            with part.open("w", newline="") as file:
                out = csv.DictWriter(file, FIELDS, lineterminator="\n")
                out.writeheader()
                out.writerows(self.rows)

        replace(self.path, write)


def row(rung, setting, point, p, decision, reason):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    figures = {k: point[k] for k in ("step", "checkpoint", "metric", "value", "lo", "hi", "n")}
    p = "" if p is None else f"{p:.4f}"
    return {"time": now, "rung": rung, "setting": setting.name, **figures, "p": p, "decision": decision, "reason": reason}


def told(point):
    return f"{float(point['value']):.3f} [{float(point['lo']):.3f}, {float(point['hi']):.3f}]"


def outcomes(setting, point):
    """case -> record -> right or wrong, of the first pass."""
    cases = {}
    with (setting.folder / "watch" / "runs" / point["run"] / "samples.csv").open(newline="") as file:
        for r in csv.DictReader(file):
            if r["pass"] == "1" and r["correct"]:
                cases.setdefault(r["case"], {})[r["id"]] = r["correct"] == "1"
    return cases


def significance(best, other):
    """p of the difference of the mean accuracies of two checkpoints over the same records: McNemar's test as a test of
    random signs, in which a record weighs as much as it does in the mean over the tasks. `watch` does the same."""
    a, b = outcomes(*best), outcomes(*other)
    ids = {c: a[c].keys() & b[c].keys() for c in a.keys() & b.keys()}
    changes = np.array([(a[c][i] - b[c][i]) / len(ids[c]) for c in sorted(ids) for i in sorted(ids[c]) if a[c][i] != b[c][i]])
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (9999, len(changes)))
    return (1 + (abs(signs @ changes) >= abs(changes.sum()) - 1e-12).sum()) / 10000


def halve(args, rung, settings):
    """Trains and ranks `settings`, and gives the rows of the record: the better half is kept."""
    steps = args.rung * 2**rung
    for s in settings:
        s.train_to(steps)
    points = {s: s.board.judged(s.checkpoint(steps)) for s in settings}
    ranked = sorted(settings, key=lambda s: -float(points[s]["value"]))
    best, kept, rows = ranked[0], math.ceil(len(ranked) / 2), []
    for place, s in enumerate(ranked):
        decision = "kept" if place < kept else "dropped"
        if s is best:
            rows.append(row(rung, s, points[s], None, decision, f"the best of {len(ranked)}"))
            continue
        p = significance((best, points[best]), (s, points[s]))
        sure = "significant" if p < 0.05 else "may be chance"
        reason = f"place {place + 1} of {len(ranked)}, below {best.name}; p {p:.4f}: {sure}"
        rows.append(row(rung, s, points[s], p, decision, reason))
    return rows


def live(args):
    demo.need_torch()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = [Setting(rate, args) for rate in args.rates]
    record = Record(args.out / "halving.csv")
    try:
        run(args, settings, record)
    finally:
        for s in settings:
            s.board.stop()
    report = args.out / "report.html"
    subprocess.run([args.edgebench, "report", *[s.folder / "watch" for s in settings], "-o", report], check=True)


def run(args, settings, record):
    rung, left = 0, settings
    while len(left) > 1:
        rows = record.of(rung)
        if not rows:
            rows = halve(args, rung, left)
            record.add(rows)
        for r in rows:
            print(f"rung {rung}: {r['setting']} at step {r['step']}: {told(r)}: {r['decision']}: {r['reason']}", flush=True)
        kept = [r["setting"] for r in rows if r["decision"] == "kept"]
        for s in left:
            if s.name not in kept:
                s.board.stop()
        left, rung = [s for s in left if s.name in kept], rung + 1
    winner = left[0]
    if not record.of("last"):
        stopped = winner.train_to(args.max_steps)
        last = winner.board.judged(winner.checkpoint(winner.step))
        best = [p for p in winner.board.points() if p["best"] == "true"][-1]
        why = "the board saw a plateau" if stopped or winner.board.says_stop() else f"--max-steps {args.max_steps}"
        record.add([row("last", winner, last, None, "stopped", why), row("last", winner, best, None, "best", "best.gguf")])
    for r in record.of("last"):
        print(f"{r['setting']}: {r['decision']} at {r['checkpoint']}: {told(r)}: {r['reason']}", flush=True)
    print(f"\n{winner.name}, as the board saw it:\n{'step':>5}  {'accuracy, mean of the tasks':32} {'perplexity':>10}")
    for p in winner.board.points():
        bar = "#" * round(40 * float(p["value"]))
        print(f"{p['step']:>5}  {told(p):20} {p['verdict']:7} {float(p['perplexity']):12.4f}  {bar}")


def arguments(parser):
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "train-live")
    parser.add_argument("--edgebench", type=Path, default=ROOT / "target" / "release" / "edgebench")
    parser.add_argument("--job", type=Path, default=JOB)
    parser.add_argument("--rates", type=lambda t: [float(r) for r in t.split(",")], default=[3e-3, 3e-4, 3e-5],
                        help="learning rates, separated by commas")
    parser.add_argument("--rung", type=int, default=20, help="steps of the first rung")
    parser.add_argument("--every", type=int, default=10, help="steps between two checkpoints")
    parser.add_argument("--max-steps", type=int, default=400)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments(parser)
    parser.add_argument("--seed", type=int, default=demo.SEED)
    parser.add_argument("--threads", type=int, default=1)
    live(parser.parse_args())


if __name__ == "__main__":
    main()
