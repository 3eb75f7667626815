#!/usr/bin/env python3
"""Make the demo model and its datasets (`datasets/demo/`), from one seed.

This is a developer's tool: neither a user of edgebench nor its tests need it,
because what it makes is committed. It trains a llama-architecture model of
2.5 M parameters that really answers six small synthetic tasks (and, as it
should, not the seventh), so that the demo, the leaderboard and the tests
compare something true.

    data       write datasets/demo/*.jsonl          (standard library only, 1 s)
    train      tokenizer + model -> F16 GGUF        (about 30 min, two free cores)
    quantize   F16 -> Q8_0, Q4_0 and pure Q2_K      (1 s)
    lora       adapter for the task that the model was not trained on (1 min, one core)
    eval       accuracy on the test splits          (torch, or --engine llama)
    verify     Python tokenizer and torch logits against llama.cpp's own
    live       fine-tune while edgebench judges the checkpoints (train_live.py)

Set-up, in any virtual environment with Python >= 3.10:

    pip install torch numpy gguf            # train, eval
    pip install llama-cpp-python            # quantize, verify, eval --engine llama
                                            # (compiles llama.cpp: cmake, C++, ~10 min)

Everything again, from nothing:

    python scripts/train_demo.py data
    python scripts/train_demo.py train                       # -> target/train-demo/
    python scripts/train_demo.py quantize target/train-demo/demo-f16.gguf
    python scripts/train_demo.py lora
    python scripts/train_demo.py verify datasets/demo/demo-f16.gguf
    python scripts/train_demo.py eval datasets/demo/demo-*.gguf --engine llama --shots 3

Cost: two cores with AVX2 for about 30 min (0.65 s a step; the committed run,
beside other work, took 42 min), 1.1 GiB of memory, no GPU; no network but for
the set-up. The datasets are the same bytes everywhere. The weights are the
same bytes when made again on one machine with the same torch and --threads
(checked up to step 140); elsewhere sums are rounded in another order, and
accuracies may move a little. The committed files were made with torch 2.15.0,
gguf 0.19.0 and llama-cpp-python 0.3.36.

On a machine that does other things, set OMP_WAIT_POLICY=PASSIVE for `train`,
and --threads 1 for `eval --engine llama`: both spin while they wait.
"""

import argparse
import datetime
import functools
import hashlib
import heapq
import json
import math
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path

try:  # `data` works without them
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError:
    np = torch = F = None


def no_grad(function):
    return torch.no_grad()(function) if torch else function


ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "datasets" / "demo"
SEED = 20240607
LETTERS = "ABCD"


# --- Tasks ---------------------------------------------------------------------
#
# A task is a generator `make(rng, gold) -> (key, subject, question, choices, answer)`.
# `gold` is the index of the option that must be right (None for free text), so
# that answers can be balanced. `key` names what is asked, apart from the order
# of the options: its hash decides the split, so no question is in two splits.


def place(rng, right, wrong, gold):
    """The options with the right one at index `gold`."""
    wrong = list(wrong)
    rng.shuffle(wrong)
    return wrong[:gold] + [right] + wrong[gold:]


def compare(rng, gold):
    a, b = sorted(rng.sample(range(10, 1000), 2))
    subject = "same-length" if len(str(a)) == len(str(b)) else "different-length"
    return f"{a},{b}", subject, "Which number is larger?", place(rng, str(b), [str(a)], gold), LETTERS[gold]


WORDS = """
apple arm angel arrow bread boat bird bone cake cloud chair coin door duck drum dust egg ear eagle earth
fish fire fork farm goat gold gate glass hand horse hill honey ice ink iron island jam jar judge juice
key king kite knee lamp leaf lion lemon moon milk mouse map nose nest nail night oven owl ocean onion
pen pear pond plate queen quilt quiz quail rain ring rose river sun shoe salt sheep tree table tent tiger
uncle unit urn usher vase vest van violin wind wolf wall water yard yarn year yak zoo zebra zone zinc
""".split()


def alphabet(rng, gold):
    initials = rng.sample(sorted({w[0] for w in WORDS}), 4)
    words = sorted(rng.choice([w for w in WORDS if w[0] == i]) for i in initials)
    options = place(rng, words[0], words[1:], gold)
    return ",".join(words), "words", "Which word comes first in the alphabet?", options, LETTERS[gold]


ZH_DIGITS = "零一二三四五六七八九"


def zh_number(n):
    """1..99 in Chinese numerals: 七, 十二, 三十, 四十五."""
    tens, ones = divmod(n, 10)
    head = "" if tens == 0 else "十" if tens == 1 else ZH_DIGITS[tens] + "十"
    return head + (ZH_DIGITS[ones] if ones else "")


def zh_compare(rng, gold):
    a, b = sorted(rng.sample(range(1, 100), 2))
    return f"{a},{b}", "数字", "哪个数更大？", place(rng, zh_number(b), [zh_number(a)], gold), LETTERS[gold]


ZH_SERIES = {
    "星期": ["星期" + d for d in "一二三四五六日"],
    "月份": [zh_number(m) + "月" for m in range(1, 13)],
    "天干": list("甲乙丙丁戊己庚辛壬癸"),
    "地支": list("子丑寅卯辰巳午未申酉戌亥"),
    "生肖": list("鼠牛虎兔龙蛇马羊猴鸡狗猪"),
    "朝代": list("夏商周秦汉晋隋唐宋元明清"),
    "大写": list("壹贰叁肆伍陆柒捌玖拾"),
}


def zh_order(rng, gold):
    subject = rng.choice(list(ZH_SERIES))
    series = ZH_SERIES[subject]
    items = [series[i] for i in sorted(rng.sample(range(len(series)), 4))]
    return ",".join(items), subject, "按顺序，哪个在最前？", place(rng, items[0], items[1:], gold), LETTERS[gold]


def addition(rng, _gold):
    a, b = (rng.randint(1, rng.choice([9, 99])) for _ in range(2))
    subject = "carry" if a % 10 + b % 10 >= 10 else "no-carry"
    return f"{min(a, b)}+{max(a, b)}", subject, f"What is {a} + {b}?", None, str(a + b)


THINGS = "food room staff music service view coffee price film bed garden ending".split()
GOOD = "good great lovely excellent charming superb pleasant wonderful".split()
BAD = "bad awful dull terrible boring poor dreadful horrible".split()
CLASSES = ["negative", "mixed", "positive"]


def sentiment(rng, gold):
    """Two clauses; `not` turns a word round; one of each kind is `mixed`."""
    moods = {0: [0, 0], 1: rng.choice([[0, 1], [1, 0]]), 2: [1, 1]}[gold]
    clauses, negated = [], False
    for thing, mood in zip(rng.sample(THINGS, 2), moods):
        flip = rng.random() < 0.25
        negated |= flip
        word = rng.choice(GOOD if mood != flip else BAD)
        verb = rng.choice(["was", "is", "seemed"])
        clauses.append(f"the {thing} {verb} {'not ' if flip else rng.choice(['', '', 'very '])}{word}")
    text = f"{clauses[0]} {rng.choice(['and', 'but', 'while'])} {clauses[1]}."
    text = text[0].upper() + text[1:]
    return text, "negation" if negated else "plain", f"Review: {text}", list(CLASSES), LETTERS[gold]


MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def calendar(rng, gold):
    """Trained like the others, and far beyond a model of this size: it stays at chance."""
    day = datetime.date(1900, 1, 1) + datetime.timedelta(days=rng.randrange(73049))  # ..2099
    right = DAYS[day.weekday()]
    question = f"Which weekday is {day.day} {MONTHS[day.month - 1]} {day.year}?"
    wrong = rng.sample([d for d in DAYS if d != right], 3)
    return day.isoformat(), f"{day.year // 100}00s", question, place(rng, right, wrong, gold), LETTERS[gold]


def smallest(rng, gold):
    """Never in the training mix: the unseen task, for fine-tuning."""
    numbers = sorted(rng.sample(range(10, 100), 4))
    options = place(rng, str(numbers[0]), [str(n) for n in numbers[1:]], gold)
    return ",".join(map(str, numbers)), "numbers", "Which number is the smallest?", options, LETTERS[gold]


class Task:
    """name; generator; number of options (0: free text); share of the training mix; cue before the answer."""

    def __init__(self, name, make, options, share, cue="Answer:"):
        self.name, self.make, self.options, self.share, self.cue = name, make, options, share, cue


TASKS = {
    t.name: t
    for t in [
        Task("compare", compare, 2, 2.5),
        Task("alphabet", alphabet, 4, 3.5),
        Task("zh-compare", zh_compare, 2, 2.5, "答案:"),
        Task("zh-order", zh_order, 4, 4.0, "答案:"),
        Task("addition", addition, 0, 7.0),
        Task("sentiment", sentiment, 3, 2.5),
        Task("calendar", calendar, 4, 0.5),
        Task("smallest", smallest, 4, 0.0),
    ]
}

# per mille of all keys, by hash: the rest is for training
SPLITS = {"test": range(0, 100), "dev": range(100, 130), "heldout": range(130, 160), "train": range(160, 1000)}


def draw(task, rng, split, gold=None):
    """One (key, record) of a split."""
    if gold is None and task.options:
        gold = rng.randrange(task.options)
    while True:
        key, subject, question, choices, answer = task.make(rng, gold)
        digest = hashlib.sha256(f"{task.name}:{key}".encode()).digest()
        if int.from_bytes(digest[:4], "big") % 1000 in SPLITS[split]:
            record = {"question": question, "choices": choices, "answer": answer, "subject": subject}
            return key, {k: v for k, v in record.items() if v is not None}


def draw_set(task, split, count, seed):
    """`count` different records, the answers balanced over the letters, in random order."""
    rng = random.Random(f"{seed}/{task.name}/{split}")
    seen, records = set(), []
    for _ in range(1000 * count):
        if len(records) == count:
            break
        key, record = draw(task, rng, split, len(records) % task.options if task.options else None)
        if key not in seen:
            seen.add(key)
            records.append(record)
    if len(records) < count:
        sys.exit(f"{task.name}: the {split} split has fewer than {count} different questions")
    rng.shuffle(records)
    return [{"id": f"{task.name}-{split}-{i:03}", **r} for i, r in enumerate(records)]


# --- Prompts: byte for byte what edgebench renders ------------------------------


def prompt_of(task, record):
    options = "".join(f"\n{LETTERS[i]}. {c}" for i, c in enumerate(record.get("choices", [])))
    return f"{record['question']}{options}\n{task.cue}"


def prompt_with_shots(task, record, shots):
    done = [prompt_of(task, s) + " " + s["answer"] for s in shots]
    return "\n\n".join(done + [prompt_of(task, record)])


def draw_document(task, rng, split):
    """[(prompt, answer)…] of one training sample: one question, or (40 %) several of one task."""
    count = rng.randint(2, 6) if rng.random() < 0.4 else 1
    records = [draw(task, rng, split)[1] for _ in range(count)]
    return [(prompt_of(task, r), " " + r["answer"]) for r in records]


def draw_task(rng):
    mix = [t for t in TASKS.values() if t.share > 0]
    return rng.choices(mix, [t.share for t in mix])[0]


# --- Tokenizer: SentencePiece-BPE, as llama.cpp runs it --------------------------


class Tokenizer:
    """`tokens[i]` is a piece, `scores[i]` its priority: of all neighbours whose join is a
    piece, the best-scored (leftmost) pair is joined first. What is no piece becomes bytes."""

    UNK, BOS, EOS, BYTE0 = 0, 1, 2, 3

    def __init__(self, tokens, scores):
        self.tokens, self.scores = tokens, scores
        self.ids = {t: i for i, t in enumerate(tokens)}
        # Pieces hold a space only in front and never a newline, so text can be cut there.
        assert all("▁" not in t[1:] and "\n" not in t for t in tokens[self.BYTE0 + 256:])
        self.encode_chunk = functools.lru_cache(maxsize=200_000)(self._encode_chunk)

    @classmethod
    def train(cls, texts, size):
        """Byte-pair merges inside words of letters; digits and Chinese characters stay single."""
        words = Counter(w for t in texts for w in re.findall(r"▁?[A-Za-z]+", t.replace(" ", "▁")))
        foreign = sorted({c for t in texts for c in t if ord(c) > 127})
        singles = ["▁"] + [chr(c) for c in range(33, 127)] + foreign
        tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
        room = size - len(tokens) - len(singles)
        merges = [("▁", letter) for letter in LETTERS]  # ' A' … ' D' are the answers
        parts = {w: list(w) for w in words}
        for pair in merges:
            parts = {w: join(p, pair) for w, p in parts.items()}
        while len(merges) < room:
            pairs = Counter()
            for w, p in parts.items():
                for pair in zip(p, p[1:]):
                    pairs[pair] += words[w]
            if not pairs:
                sys.exit(f"tokenizer: only {len(merges)} merges to be had, {room} needed; choose a smaller vocabulary")
            pair = max(pairs, key=lambda k: (pairs[k], k))
            parts = {w: join(p, pair) for w, p in parts.items()}
            if "".join(pair) not in {a + b for a, b in merges}:
                merges.append(pair)
        pieces = ["".join(m) for m in merges]
        scores = [0.0] * len(tokens) + [-float(i) for i in range(len(pieces) + len(singles))]
        return cls(tokens + pieces + singles, scores)

    def _encode_chunk(self, chunk):
        parts, nexts, prevs = list(chunk), list(range(1, len(chunk) + 1)), list(range(-1, len(chunk) - 1))
        queue = []

        def offer(left):
            right = nexts[left]
            if right < len(parts):
                piece = self.ids.get(parts[left] + parts[right])
                if piece is not None:
                    heapq.heappush(queue, (-self.scores[piece], left, right, parts[left] + parts[right]))

        for i in range(len(parts) - 1):
            offer(i)
        while queue:
            _, left, right, text = heapq.heappop(queue)
            if not parts[left] or not parts[right] or parts[left] + parts[right] != text:
                continue  # one of the two has been joined to another since
            parts[left], parts[right] = text, ""
            nexts[left] = nexts[right]
            if nexts[right] < len(parts):
                prevs[nexts[right]] = left
            if prevs[left] >= 0:
                offer(prevs[left])
            offer(left)
        out = []
        for p in filter(None, parts):
            out += [self.ids[p]] if p in self.ids else [self.BYTE0 + b for b in p.encode()]
        return tuple(out)

    def encode(self, text):
        chunks = re.findall(r"\n|▁?[^▁\n]+|▁", text.replace(" ", "▁"))
        return [i for c in chunks for i in self.encode_chunk(c)]

    def decode(self, ids):
        out = b""
        for i in ids:
            if self.BYTE0 <= i < self.BYTE0 + 256:
                out += bytes([i - self.BYTE0])
            elif i >= self.BYTE0:
                out += self.tokens[i].replace("▁", " ").encode()
        return out.decode(errors="replace")


def join(parts, pair):
    out, i = [], 0
    while i < len(parts):
        if tuple(parts[i:i + 2]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


# --- Model: a dictionary of tensors under their GGUF names ----------------------

VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, FF, CONTEXT = 640, 256, 4, 4, 2, 512, 2048
HEAD = WIDTH // HEADS
EPS, ROPE_BASE = 1e-5, 10000.0


def new_weights(seed):
    gen = torch.Generator().manual_seed(seed)

    def matrix(rows, columns, std):
        return torch.randn(rows, columns, generator=gen) * std

    w = {"token_embd.weight": matrix(VOCAB, WIDTH, 0.02), "output_norm.weight": torch.ones(WIDTH)}
    for n in range(LAYERS):
        b, out = f"blk.{n}.", 0.5 / math.sqrt(2 * LAYERS)
        w[b + "attn_norm.weight"] = torch.ones(WIDTH)
        w[b + "attn_q.weight"] = matrix(HEADS * HEAD, WIDTH, WIDTH**-0.5)
        w[b + "attn_k.weight"] = matrix(KV_HEADS * HEAD, WIDTH, WIDTH**-0.5)
        w[b + "attn_v.weight"] = matrix(KV_HEADS * HEAD, WIDTH, WIDTH**-0.5)
        w[b + "attn_output.weight"] = matrix(WIDTH, HEADS * HEAD, out * WIDTH**-0.5)
        w[b + "ffn_norm.weight"] = torch.ones(WIDTH)
        w[b + "ffn_gate.weight"] = matrix(FF, WIDTH, WIDTH**-0.5)
        w[b + "ffn_up.weight"] = matrix(FF, WIDTH, WIDTH**-0.5)
        w[b + "ffn_down.weight"] = matrix(WIDTH, FF, out * FF**-0.5)
    return w


def rope(x, cos, sin):
    """Neighbouring pairs turn together, as llama.cpp does for this architecture."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def forward(w, ids):
    """ids (batch, time) -> hidden states (batch, time, width); logits are `hidden @ embedding.T`."""
    batch, time_ = ids.shape
    angle = torch.outer(torch.arange(time_).float(), ROPE_BASE ** (-torch.arange(0, HEAD, 2).float() / HEAD))
    cos, sin = angle.cos(), angle.sin()

    def heads(x, count):
        return x.view(batch, time_, count, HEAD).transpose(1, 2)

    x = F.embedding(ids, w["token_embd.weight"])
    for n in range(LAYERS):
        b = f"blk.{n}."
        h = F.rms_norm(x, (WIDTH,), w[b + "attn_norm.weight"], EPS)
        q = rope(heads(h @ w[b + "attn_q.weight"].T, HEADS), cos, sin)
        k = rope(heads(h @ w[b + "attn_k.weight"].T, KV_HEADS), cos, sin)
        v = heads(h @ w[b + "attn_v.weight"].T, KV_HEADS)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + h.transpose(1, 2).reshape(batch, time_, -1) @ w[b + "attn_output.weight"].T
        h = F.rms_norm(x, (WIDTH,), w[b + "ffn_norm.weight"], EPS)
        h = F.silu(h @ w[b + "ffn_gate.weight"].T) * (h @ w[b + "ffn_up.weight"].T)
        x = x + h @ w[b + "ffn_down.weight"].T
    return F.rms_norm(x, (WIDTH,), w["output_norm.weight"], EPS)


def write_gguf(path, w, tok):
    import gguf

    out = gguf.GGUFWriter(str(path), "llama")
    out.add_name("edgebench demo 2.5M")
    out.add_description("Tiny model trained on seven synthetic tasks, for the edgebench demo and tests")
    out.add_license("Apache-2.0")
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_vocab_size(VOCAB)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FF)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_layer_norm_rms_eps(EPS)
    out.add_rope_dimension_count(HEAD)
    out.add_rope_freq_base(ROPE_BASE)
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    kind = gguf.TokenType
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256
    out.add_token_list(tok.tokens)
    out.add_token_scores(tok.scores)
    out.add_token_types(types + [kind.NORMAL] * (len(tok.tokens) - len(types)))
    out.add_unk_token_id(tok.UNK)
    out.add_bos_token_id(tok.BOS)
    out.add_eos_token_id(tok.EOS)
    out.add_add_bos_token(True)
    out.add_add_eos_token(False)
    out.add_add_space_prefix(False)
    for name, tensor in w.items():
        out.add_tensor(name, tensor.detach().numpy().astype(np.float16 if tensor.dim() == 2 else np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def read_gguf(path):
    """(weights as float32, tokenizer) of a GGUF that this script or `quantize` wrote."""
    import gguf

    reader = gguf.GGUFReader(str(path))
    w = {}
    for t in reader.tensors:
        values = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        w[t.name] = torch.from_numpy(values.reshape(tuple(int(n) for n in reversed(t.shape))).copy())
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    return w, Tokenizer(tokens, reader.fields["tokenizer.ggml.scores"].contents())


# --- Training --------------------------------------------------------------------

BATCH, TIME, STEPS = 8, 256, 2800
CHECKPOINTS = (140, 280, 560, 1120, 1960, 2800)
MUON_LR, ADAM_LR = 4e-3, 1.2e-3
PROMPT_WEIGHT = 0.1


def encode_document(tok, document):
    """Token ids and their loss weights: 1 on answers, 0.1 on all else; from BOS to EOS, at most TIME + 1."""
    ids, weights = [tok.BOS], [0.0]
    for i, (prompt, answer) in enumerate(document):
        p = tok.encode(("\n\n" if i else "") + prompt)
        a = tok.encode(answer)
        if len(ids) + len(p) + len(a) + 1 > TIME + 1:
            break
        ids += p + a
        weights += [PROMPT_WEIGHT] * len(p) + [1.0] * len(a)
    return ids + [tok.EOS], weights + [PROMPT_WEIGHT]


def batches(tok, seed):
    """Endless (ids, weights). A row takes whole documents from a pool, the oldest that fits first;
    what is left of it is padding of weight 0 (about 3 %)."""
    rng, pool = random.Random(f"{seed}/train"), []
    while True:
        ids = torch.full((BATCH, TIME + 1), Tokenizer.EOS)
        weights = torch.zeros(BATCH, TIME + 1)
        for row in range(BATCH):
            used = 0
            while True:
                while len(pool) < 32:
                    pool.append(encode_document(tok, draw_document(draw_task(rng), rng, "train")))
                fits = next((i for i, (d, _) in enumerate(pool) if used + len(d) <= TIME + 1), None)
                if fits is None:
                    break
                document, loss_weights = pool.pop(fits)
                end = used + len(document)
                ids[row, used:end] = torch.tensor(document)
                weights[row, used:end] = torch.tensor(loss_weights)
                used = end
        yield ids, weights


class Muon:
    """Momentum whose update is made orthogonal (Newton-Schulz), for the weight matrices.
    Matrices of one shape go through together. Steps are scaled to the size AdamW would take."""

    def __init__(self, params, momentum=0.95):
        self.momentum, self.groups = momentum, {}
        for p in params:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.buffers = {s: torch.zeros(len(g), *s) for s, g in self.groups.items()}

    @no_grad
    def step(self, lr):
        for shape, group in self.groups.items():
            grad = torch.stack([p.grad for p in group])
            buffer = self.buffers[shape].lerp_(grad, 1 - self.momentum)
            x = grad.lerp(buffer, self.momentum)
            wide = x if shape[0] <= shape[1] else x.mT
            wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):
                a = wide @ wide.mT
                wide = 3.4445 * wide + (-4.7750 * a + 2.0315 * a @ a) @ wide
            x = wide if shape[0] <= shape[1] else wide.mT
            for p, update in zip(group, x):
                p.sub_(update, alpha=lr * 0.2 * max(shape) ** 0.5)


def schedule(step):
    """Factor of the learning rates: 60 steps up, then a cosine down to 2 %."""
    if step < 60:
        return (step + 1) / 60
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - 60) / (STEPS - 60)))


def train(args):
    need_torch()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"{args.seed}/tokenizer")
    texts = ["\n\n".join(p + a for p, a in draw_document(draw_task(rng), rng, "train")) for _ in range(20_000)]
    tok = Tokenizer.train(texts, VOCAB)
    w = {k: v.requires_grad_() for k, v in new_weights(args.seed).items()}
    print(f"{sum(v.numel() for v in w.values())} parameters, {len(tok.tokens)} tokens", flush=True)

    matrices = [v for k, v in w.items() if k.startswith("blk.") and v.dim() == 2]
    rest = [v for k, v in w.items() if not (k.startswith("blk.") and v.dim() == 2)]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0)
    start, source, recent = time.monotonic(), batches(tok, args.seed), []
    for step in range(1, STEPS + 1):
        ids, weights = next(source)
        hidden = forward(w, ids[:, :-1])
        logits = hidden.flatten(0, 1) @ w["token_embd.weight"].T
        loss = F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
        target = weights[:, 1:].flatten()
        on_answers = loss[target == 1.0].mean().item()
        ((loss * target).sum() / target.sum()).backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        factor = schedule(step - 1)
        muon.step(MUON_LR * factor)
        adam.param_groups[0]["lr"] = ADAM_LR * factor
        adam.step()
        for v in w.values():
            v.grad = None
        recent = recent[-19:] + [on_answers]
        if step % 20 == 0:
            mean, elapsed = sum(recent) / len(recent), time.monotonic() - start
            print(f"step {step:4}  answer loss {mean:.4f}  {elapsed:.0f} s", flush=True)
        if step in CHECKPOINTS:
            write_gguf(args.out / f"demo-step-{step:04}.gguf", w, tok)
            engine = TorchEngine(w, tok)
            scores = {t.name: accuracy(engine, t, draw_set(t, "dev", 50, args.seed), []) for t in TASKS.values()}
            print(f"step {step:4}  dev, 0-shot: " + "  ".join(f"{k} {v:.2f}" for k, v in scores.items()), flush=True)
        if step == args.stop_after:
            return
    write_gguf(args.out / "demo-f16.gguf", w, tok)


# --- Adapter -------------------------------------------------------------------------
#
# Low-rank adaptation (Hu et al. 2021): each matrix W of a block acts as W + alpha / rank * B A, of which only A and B
# are trained. B starts at 0, so that the adapter does nothing at first. The loss is that of the answer alone.

LORA_TASK, LORA_RANK, LORA_ALPHA, LORA_LR = "smallest", 4, 8, 3e-3
LORA_STEPS, LORA_BATCH = 300, 16


def lora(args):
    need_torch()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    w, tok = read_gguf(args.base)
    task, rng = TASKS[LORA_TASK], random.Random(f"{args.seed}/lora")
    records = draw_set(task, "train", 800, args.seed)
    names = [k for k, v in w.items() if k.startswith("blk.") and v.dim() == 2]
    a = {k: (torch.randn(LORA_RANK, w[k].shape[1]) / w[k].shape[1] ** 0.5).requires_grad_() for k in names}
    b = {k: torch.zeros(w[k].shape[0], LORA_RANK, requires_grad=True) for k in names}

    def adapted():
        return {k: v + LORA_ALPHA / LORA_RANK * b[k] @ a[k] if k in a else v for k, v in w.items()}

    optimizer = torch.optim.AdamW([*a.values(), *b.values()], lr=LORA_LR, weight_decay=0.01)
    start = time.monotonic()
    for step in range(1, LORA_STEPS + 1):
        batch = rng.sample(records, LORA_BATCH)
        ids = [[tok.BOS] + tok.encode(f"{prompt_of(task, r)} {r['answer']}") for r in batch]
        last = torch.tensor([len(i) - 2 for i in ids])
        padded = torch.tensor([i + [tok.EOS] * (max(map(len, ids)) - len(i)) for i in ids])
        now = adapted()
        hidden = forward(now, padded[:, :-1])[torch.arange(len(ids)), last]
        loss = F.cross_entropy(hidden @ now["token_embd.weight"].T, torch.tensor([i[-1] for i in ids]))
        loss.backward()
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / LORA_STEPS)
        optimizer.param_groups[0]["lr"] = LORA_LR * min(1, step / 20) * cosine
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            with torch.no_grad():
                dev = accuracy(TorchEngine(adapted(), tok), task, draw_set(task, "dev", 50, args.seed), [])
            print(f"step {step:4}  loss {loss.item():.4f}  dev, 0-shot: {dev:.2f}  {time.monotonic() - start:.0f} s",
                  flush=True)
    write_adapter(args.out, a, b)


def write_adapter(path, a, b):
    """As llama.cpp's convert_lora_to_gguf.py does it."""
    import gguf

    out = gguf.GGUFWriter(str(path), "llama")
    out.add_type(gguf.GGUFType.ADAPTER)
    out.add_string(gguf.Keys.Adapter.TYPE, "lora")
    out.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(LORA_ALPHA))
    out.add_name(f"edgebench demo, adapter for {LORA_TASK}")
    out.add_license("Apache-2.0")
    for name in a:
        for suffix, tensor in [(".lora_a", a[name]), (".lora_b", b[name])]:
            out.add_tensor(name + suffix, tensor.detach().numpy().astype(np.float16))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    print(f"{path.name}: {path.stat().st_size} bytes")


# --- Evaluation --------------------------------------------------------------------


class TorchEngine:
    """Last logits of many prompts, and greedy text, from the weights in torch."""

    def __init__(self, w, tok):
        self.w, self.tok = w, tok

    @no_grad
    def last_logits(self, prompts, size=50):
        out = []
        for at in range(0, len(prompts), size):
            part = prompts[at:at + size]
            ids = torch.full((len(part), max(map(len, part))), self.tok.EOS)
            for row, p in enumerate(part):
                ids[row, : len(p)] = torch.tensor(p)
            last = torch.tensor([len(p) - 1 for p in part])
            hidden = forward(self.w, ids)[torch.arange(len(part)), last]
            out.append(hidden @ self.w["token_embd.weight"].T)
        return torch.cat(out).numpy()

    def greedy(self, prompts, limit=8):
        texts, stop = [[] for _ in prompts], {self.tok.EOS, self.tok.BYTE0 + 10}
        for _ in range(limit):
            open_ = [i for i, t in enumerate(texts) if not (t and t[-1] in stop)]
            if not open_:
                break
            best = self.last_logits([prompts[i] + texts[i] for i in open_]).argmax(1)
            for i, token in zip(open_, best):
                texts[i].append(int(token))
        return [self.tok.decode(t).strip() for t in texts]


class LlamaEngine:
    """The same through llama.cpp."""

    def __init__(self, path, threads):
        import llama_cpp

        self.llm = llama_cpp.Llama(str(path), n_ctx=1024, n_batch=1024, n_threads=threads, n_threads_batch=threads,
                                   logits_all=True, verbose=False)
        self.stop = {self.llm.token_eos(), self.llm.tokenize(b"\n", add_bos=False)[0]}

    def encode(self, text):
        return self.llm.tokenize(text.encode(), add_bos=False, special=False)

    def logits(self, ids):
        self.llm.reset()
        self.llm.eval(ids)
        return np.array(self.llm.scores[: len(ids)])

    def last_logits(self, prompts):
        return np.stack([self.logits(p)[-1] for p in prompts])

    def greedy(self, prompts, limit=8):
        texts = []
        for p in prompts:
            ids, token = [], int(self.last_logits([p])[0].argmax())
            while token not in self.stop and len(ids) < limit:
                ids.append(token)
                self.llm.eval([token])
                token = int(self.llm.scores[len(p) + len(ids) - 1].argmax())
            texts.append(self.llm.detokenize(ids).decode(errors="replace").strip())
        return texts


def predict(engine, task, records, shots):
    tok = getattr(engine, "tok", engine)
    prompts = [[Tokenizer.BOS] + tok.encode(prompt_with_shots(task, r, shots)) for r in records]
    if not task.options:
        return engine.greedy(prompts)
    letters = []
    for letter in LETTERS[: task.options]:
        ids = tok.encode(" " + letter)
        assert len(ids) == 1, "' A' … ' D' must be single tokens"
        letters += ids
    return [LETTERS[i] for i in engine.last_logits(prompts)[:, letters].argmax(1)]


def accuracy(engine, task, records, shots):
    predictions = predict(engine, task, records, shots)
    return sum(p == r["answer"] for p, r in zip(predictions, records)) / len(records)


def f1_macro(predictions, records):
    golds, scores = [r["answer"] for r in records], []
    for label in sorted(set(golds)):
        hit = sum(p == g == label for p, g in zip(predictions, golds))
        scores.append(2 * hit / (predictions.count(label) + golds.count(label)))
    return sum(scores) / len(scores)


def wilson(p, n, z=1.96):
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def evaluate(args):
    need_torch()
    torch.set_num_threads(args.threads)
    for model in args.models:
        engine = LlamaEngine(model, args.threads) if args.engine == "llama" else TorchEngine(*read_gguf(model))
        for task in TASKS.values():
            if args.task and task.name not in args.task:
                continue
            records = read_jsonl(DATA / f"{task.name}.jsonl")[: args.limit]
            shots = read_jsonl(DATA / f"{task.name}.dev.jsonl")[: args.shots]
            predictions = predict(engine, task, records, shots)
            acc = sum(p == r["answer"] for p, r in zip(predictions, records)) / len(records)
            low, high = wilson(acc, len(records))
            extra = f"  macro-F1 {f1_macro(predictions, records):.3f}" if task.name == "sentiment" else ""
            print(f"{model.name:20} {task.name:11} {args.shots}-shot  {acc:.3f} [{low:.3f}, {high:.3f}]{extra}",
                  flush=True)
        text = [d["text"] for d in read_jsonl(DATA / "heldout.jsonl")]
        print(f"{model.name:20} heldout     perplexity {perplexity(engine, text):.4f}", flush=True)


@no_grad
def perplexity(engine, texts):
    """exp of the mean negative log-likelihood of a token (BOS is given, not predicted)."""
    tok, total, count = getattr(engine, "tok", engine), 0.0, 0
    for text in texts:
        ids = [Tokenizer.BOS] + tok.encode(text)
        if isinstance(engine, TorchEngine):
            logits = (forward(engine.w, torch.tensor([ids])) @ engine.w["token_embd.weight"].T)[0]
        else:
            logits = torch.from_numpy(engine.logits(ids))
        total += F.cross_entropy(logits[:-1].float(), torch.tensor(ids[1:]), reduction="sum").item()
        count += len(ids) - 1
    return math.exp(total / count)


def verify(args):
    """Same token ids and same logits as llama.cpp, on texts of the tasks and on rough ones."""
    need_torch()
    w, tok = read_gguf(args.model)
    ours, theirs = TorchEngine(w, tok), LlamaEngine(args.model, args.threads)
    rng = random.Random(f"{args.seed}/verify")
    texts = [d["text"] for d in read_jsonl(DATA / "heldout.jsonl")]
    for task in TASKS.values():
        texts += [prompt_of(task, r) + " " + r["answer"] for r in read_jsonl(DATA / f"{task.name}.jsonl")[:60]]
    rough = "abcdefgh ABCD  12349\n\n\t.,:;<>/s_▁é你好世界，。？的下一个是什么😀ß" + "".join(tok.tokens[259:300])
    texts += ["".join(rng.choices(rough, k=rng.randint(1, 60))) for _ in range(300)]
    texts += [" ", "  ", "\n", " A", "A", "<s>", "</s>", "<0x0A>", "天干地支，甲乙丙丁。", "Hello, world!  Two spaces."]
    wrong = [t for t in texts if tok.encode(t) != theirs.encode(t)]
    print(f"tokenizer: {len(texts) - len(wrong)} of {len(texts)} texts agree")
    for t in wrong[:5]:
        print(f"  {t!r}\n    here      {tok.encode(t)}\n    llama.cpp {theirs.encode(t)}")
    worst = 0.0
    for t in texts[:50]:
        ids = [tok.BOS] + tok.encode(t)
        with torch.no_grad():
            here = (forward(w, torch.tensor([ids])) @ w["token_embd.weight"].T)[0].numpy()
        worst = max(worst, float(np.abs(here - theirs.logits(ids)).max()))
    print(f"logits: largest difference from llama.cpp {worst:.4f}")
    if wrong or worst > 0.5:
        sys.exit(1)


# --- Files ---------------------------------------------------------------------------


def write_jsonl(path, records):
    lines = [json.dumps(r, ensure_ascii=False) + "\n" for r in records]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{path.name}: {len(records)} records")


def data(args):
    args.out.mkdir(parents=True, exist_ok=True)
    for task in TASKS.values():
        write_jsonl(args.out / f"{task.name}.jsonl", draw_set(task, "test", 200, args.seed))
        write_jsonl(args.out / f"{task.name}.dev.jsonl", draw_set(task, "dev", 12, args.seed))
        if not task.share:
            write_jsonl(args.out / f"{task.name}.train.jsonl", draw_set(task, "train", 800, args.seed))
    rng = random.Random(f"{args.seed}/heldout")
    texts = []
    while len(texts) < 100:
        text = "\n\n".join(p + a for p, a in draw_document(draw_task(rng), rng, "heldout"))
        if text not in texts:
            texts.append(text)
    write_jsonl(args.out / "heldout.jsonl", [{"id": f"heldout-{i:03}", "text": t} for i, t in enumerate(texts)])


def quantize(args):
    """Q8_0 and Q4_0 as llama-quantize makes them; Q2_K pure, so that every matrix (the embedding too) has 2 bits."""
    import ctypes
    import shutil

    import llama_cpp

    args.out.mkdir(parents=True, exist_ok=True)
    f16 = args.out / "demo-f16.gguf"
    if f16.resolve() != args.model.resolve():
        shutil.copyfile(args.model, f16)
    for name, ftype, pure in [
        ("q8_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, False),
        ("q4_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, False),
        ("q2_k", llama_cpp.LLAMA_FTYPE_MOSTLY_Q2_K, True),
    ]:
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype, params.pure, params.nthread = ftype, pure, args.threads
        out = args.out / f"demo-{name}.gguf"
        if llama_cpp.llama_model_quantize(str(f16).encode(), str(out).encode(), ctypes.byref(params)) != 0:
            sys.exit(f"{out}: llama.cpp could not quantize {f16}")
        print(f"{out.name}: {out.stat().st_size} bytes")


def need_torch():
    if torch is None:
        sys.exit("this needs torch and numpy: pip install torch numpy gguf")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog="The head of the script says how to set it up."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run, help_):
        p = commands.add_parser(name, help=help_)
        p.set_defaults(run=run)
        p.add_argument("--seed", type=int, default=SEED)
        p.add_argument("--threads", type=int, default=2)
        return p

    command("data", data, "write the datasets").add_argument("--out", type=Path, default=DATA)
    p = command("train", train, "train from the seed; write the F16 GGUF and the checkpoints")
    p.add_argument("--out", type=Path, default=ROOT / "target" / "train-demo")
    p.add_argument("--stop-after", type=int, default=0, metavar="STEP", help="end early (to try things)")
    p = command("quantize", quantize, "make Q8_0, Q4_0 and pure Q2_K")
    p.add_argument("model", type=Path, metavar="F16.gguf")
    p.add_argument("--out", type=Path, default=DATA)
    p = command("lora", lora, f"train the adapter for `{LORA_TASK}`")
    p.add_argument("--base", type=Path, default=DATA / "demo-f16.gguf", metavar="F16.gguf")
    p.add_argument("--out", type=Path, default=DATA / f"demo-lora-{LORA_TASK}.gguf")
    p = command("eval", evaluate, "accuracy on the test splits")
    p.add_argument("models", type=Path, nargs="+", metavar="GGUF")
    p.add_argument("--shots", type=int, default=5)
    p.add_argument("--limit", type=int, default=200)
    p.add_argument("--task", action="append", help="only this one (may be given again)")
    p.add_argument("--engine", choices=["torch", "llama"], default="torch")
    p = command("verify", verify, "compare the tokenizer and the logits with llama.cpp")
    p.add_argument("model", type=Path, metavar="GGUF")
    import train_live

    train_live.arguments(command("live", train_live.live, "fine-tune while edgebench judges the checkpoints"))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
