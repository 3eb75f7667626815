#!/usr/bin/env python3
"""What the demo model must say, computed in float64 by numpy from the GGUF file: the tests' oracle.

    reference.py MODEL.gguf DATASETS OUT.json

Writes 20 prompts made from the demo's datasets, with their tokens (by the file's own SentencePiece rule), the greedy
continuation, and log-likelihoods of continuations. Needs numpy and gguf. It shares no code with the exporter.
"""

import heapq
import json
import sys
from pathlib import Path

import gguf
import numpy as np


class Model:
    """The llama architecture in a hundred words; weights and sums in float64."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.w = {}
        for t in reader.tensors:
            shape = tuple(int(n) for n in reversed(t.shape))
            self.w[t.name] = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64).reshape(shape)
        get = lambda key: reader.fields[key].contents()
        self.layers, self.heads = get("llama.block_count"), get("llama.attention.head_count")
        self.kv_heads, self.eps = get("llama.attention.head_count_kv"), get("llama.attention.layer_norm_rms_epsilon")
        self.base = get("llama.rope.freq_base")
        self.tokens, self.scores = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.scores")
        self.bos, self.eos = get("tokenizer.ggml.bos_token_id"), get("tokenizer.ggml.eos_token_id")
        kinds = get("tokenizer.ggml.token_type")
        self.ids = {t: i for i, t in enumerate(self.tokens) if kinds[i] == gguf.TokenType.NORMAL}
        self.byte = {int(t[3:5], 16): i for i, t in enumerate(self.tokens) if kinds[i] == gguf.TokenType.BYTE}

    def encode(self, text):
        """Joins the neighbours whose join has the best score, leftmost first, until none is a piece."""
        parts = list(text.replace(" ", "\u2581"))
        left, right = list(range(-1, len(parts) - 1)), list(range(1, len(parts) + 1))
        queue = []

        def offer(i):
            if i >= 0 and right[i] < len(parts):
                piece = parts[i] + parts[right[i]]
                if piece in self.ids:
                    heapq.heappush(queue, (-self.scores[self.ids[piece]], i, piece))

        for i in range(len(parts)):
            offer(i)
        while queue:
            _, i, piece = heapq.heappop(queue)
            j = right[i]
            if not parts[i] or j >= len(parts) or parts[i] + parts[j] != piece:
                continue
            parts[i], parts[j], right[i] = piece, "", right[j]
            if right[i] < len(parts):
                left[right[i]] = i
            offer(left[i])
            offer(i)
        out = []
        for p in filter(None, parts):
            out += [self.ids[p]] if p in self.ids else [self.byte[b] for b in p.encode()]
        return out

    def logits(self, ids, past=None):
        """Rows of logits for `ids`, which follow those that `past` was returned for, and what to pass on next time."""
        w, n = self.w, len(ids)
        x = w["token_embd.weight"][ids]
        size = x.shape[1] // self.heads
        before = past[0][0].shape[0] if past else 0
        angle = np.outer(np.arange(before, before + n), self.base ** (-np.arange(0, size, 2) / size))[:, None]
        cos, sin = np.cos(angle), np.sin(angle)

        def norm(x, name):
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * w[name]

        def rope(x):
            a, b = x[..., 0::2], x[..., 1::2]
            return np.stack((a * cos - b * sin, a * sin + b * cos), -1).reshape(x.shape)

        mask, kept, group = np.triu(np.full((n, before + n), -np.inf), before + 1), [], self.heads // self.kv_heads
        for layer in range(self.layers):
            b = f"blk.{layer}."
            h = norm(x, b + "attn_norm.weight")
            q, k, v = ((h @ w[f"{b}attn_{part}.weight"].T).reshape(n, -1, size) for part in "qkv")
            q, k = rope(q), rope(k)
            if past:
                k, v = np.concatenate((past[layer][0], k)), np.concatenate((past[layer][1], v))
            kept.append((k, v))
            a = np.einsum("qhd,khd->hqk", q, k.repeat(group, 1)) / np.sqrt(size) + mask
            a = np.exp(a - a.max(-1, keepdims=True))
            h = np.einsum("hqk,khd->qhd", a / a.sum(-1, keepdims=True), v.repeat(group, 1)).reshape(n, -1)
            x = x + h @ w[b + "attn_output.weight"].T
            h = norm(x, b + "ffn_norm.weight")
            gate = h @ w[b + "ffn_gate.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w[b + "ffn_up.weight"].T)) @ w[b + "ffn_down.weight"].T
        return norm(x, "output_norm.weight") @ w.get("output.weight", w["token_embd.weight"]).T, kept

    def greedy(self, row, past, limit):
        """Tokens up to the end of the answer or to a tie that rounding may decide, and which of them it was."""
        out = []
        while len(out) < limit:
            second, best = np.sort(row)[-2:]
            if best - second < 2e-3:
                return out, "tie"
            if (token := int(row.argmax())) == self.eos:
                return out, "eos"
            out.append(token)
            rows, past = self.logits([token], past)
            row = rows[-1]
        return out, "limit"

    def score(self, row, past, continuation):
        rows = np.stack((row, *self.logits(continuation, past)[0][:-1]))
        rows = rows - rows.max(-1, keepdims=True)
        rows = rows - np.log(np.exp(rows).sum(-1, keepdims=True))
        return float(sum(row[t] for row, t in zip(rows, continuation)))


def prompts(folder):
    """Three questions of each dataset, the latter two with an example in front."""
    for path in sorted(folder.glob("*.jsonl")):
        if path.name.count(".") != 1 or path.stem == "heldout":
            continue
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:6]]
        cue = "\u7b54\u6848:" if path.stem.startswith("zh-") else "Answer:"

        def ask(r):
            options = "".join(f"\n{'ABCD'[i]}. {c}" for i, c in enumerate(r.get("choices", [])))
            return f"{r['question']}{options}\n{cue}"

        yield ask(lines[0])
        for i in (1, 3):
            yield f"{ask(lines[i])} {lines[i]['answer']}\n\n{ask(lines[i + 1])}"


def main():
    model, folder, out = Model(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    texts = ["Hello, world!  Two spaces, a smile \U0001f600 and \u00e9.", "Once", *prompts(folder)][:20]
    records = []
    for text in texts:
        ids = [model.bos] + model.encode(text)
        rows, past = model.logits(ids)
        greedy, end = model.greedy(rows[-1], past, 10)
        options = [model.encode(o) for o in (" A", " B", " C", " 10", " No such answer", "\n\u4f60\u597d")]
        scores = [model.score(rows[-1], past, o) for o in options]
        records.append({"text": text, "tokens": ids, "greedy": greedy, "end": end, "options": options, "scores": scores})
    out.write_text(json.dumps({"prompts": records}, ensure_ascii=False) + "\n", encoding="utf-8")


main()
