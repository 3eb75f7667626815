#!/usr/bin/env python3
"""GGUF -> ONNX Runtime GenAI, for models like the demo's: architecture `llama`, SentencePiece tokenizer.

    export.py MODEL.gguf FOLDER

writes FOLDER/{model.onnx, genai_config.json, tokenizer.json, tokenizer_config.json}. Needs `pip install onnx gguf`,
no torch. Weights are stored as they are in an F16 file and computed with in fp32, so nothing is rounded twice;
quantised tensors are dequantised and stored as fp32. For any other model use the vendor's own tool,
`python -m onnxruntime_genai.models.builder`.
"""

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 21, 10  # old enough for every runtime that GenAI 0.18 goes with


class Source:
    """A GGUF file: metadata by key, tensors as numpy arrays (F16 stays F16, all else becomes fp32)."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(str(path))
        self.tensors = {t.name: t for t in self.reader.tensors}

    def get(self, key, default=None):
        field = self.reader.fields.get(key)
        return default if field is None else field.contents()

    def need(self, key):
        value = self.get(key)
        if value is None:
            sys.exit(f"the GGUF file has no `{key}`: is it a complete model?")
        return value

    def tensor(self, name):
        if name not in self.tensors:
            sys.exit(f"the GGUF file has no tensor `{name}`: is it a complete llama model?")
        t = self.tensors[name]
        shape = tuple(int(n) for n in reversed(t.shape))
        if t.tensor_type == gguf.GGMLQuantizationType.F16:
            return np.asarray(t.data).reshape(shape)
        return gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)


class Sizes:
    """What the graph needs to know; refuses what it does not build."""

    def __init__(self, source):
        arch = source.need("general.architecture")
        if arch != "llama":
            sys.exit(f"architecture `{arch}`: only `llama` is built here; use onnxruntime_genai.models.builder")
        odd = [n for n in source.tensors if n.endswith(".bias") or "_exps." in n or n.startswith("rope_freqs")]
        if odd or source.get("llama.rope.scaling.type", "none") != "none":
            sys.exit(f"{', '.join(odd[:3]) or 'RoPE scaling'}: not built here; use onnxruntime_genai.models.builder")
        self.layers = int(source.need("llama.block_count"))
        self.width = int(source.need("llama.embedding_length"))
        self.heads = int(source.need("llama.attention.head_count"))
        self.kv_heads = int(source.get("llama.attention.head_count_kv", self.heads))
        self.head = int(source.get("llama.rope.dimension_count", self.width // self.heads))
        if self.head * self.heads != self.width:
            sys.exit("heads that do not share the whole width are not built here")
        self.context = int(source.need("llama.context_length"))
        self.eps = float(source.need("llama.attention.layer_norm_rms_epsilon"))
        self.rope_base = float(source.get("llama.rope.freq_base", 10000.0))
        self.vocab = len(source.need("tokenizer.ggml.tokens"))


class Graph:
    """Collects nodes and initializers."""

    def __init__(self):
        self.nodes, self.initializers = [], []

    def op(self, kind, inputs, name, outputs=None, domain="", **attributes):
        """Adds a node; returns its first output, which carries the node's name."""
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def constant(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name, value):
        """A weight in fp32. What is stored as fp16 is cast, once, when the model is loaded."""
        stored = self.constant(name, value)
        return self.op("Cast", [stored], name + ".f32", to=TensorProto.FLOAT) if value.dtype == np.float16 else stored


def build(source, n):
    """The decoder: input_ids, attention_mask, past -> logits, present."""
    g = Graph()
    # Grouped-query attention wants to know how far each sequence reaches, not a mask.
    one, axis = g.constant("one", np.array([1], np.int64)), g.constant("axis", np.array(1, np.int64))
    reach = g.op("ReduceSum", ["attention_mask", one], "mask.sum", keepdims=0)
    reach = g.op("Sub", [reach, one], "mask.last")
    reach = g.op("Cast", [reach], "seqlens_k", to=TensorProto.INT32)
    total = g.op("Gather", [g.op("Shape", ["attention_mask"], "mask.shape"), axis], "mask.length", axis=0)
    total = g.op("Cast", [total], "total_length", to=TensorProto.INT32)

    angle = np.outer(np.arange(n.context), n.rope_base ** (-np.arange(0, n.head, 2, dtype=np.float64) / n.head))
    cos = g.constant("rope.cos", np.cos(angle).astype(np.float32))
    sin = g.constant("rope.sin", np.sin(angle).astype(np.float32))

    def norm(x, name):
        scale = g.constant(name + ".weight", source.tensor(name + ".weight").astype(np.float32))
        return g.op("SimplifiedLayerNormalization", [x, scale], name, axis=-1, epsilon=n.eps, stash_type=1)

    def linear(x, name):
        return g.op("MatMul", [x, g.weight(name + ".weight", source.tensor(name + ".weight").T)], name)

    table = g.weight("token_embd.weight", source.tensor("token_embd.weight"))
    x = g.op("Gather", [table, "input_ids"], "token_embd")
    for layer in range(n.layers):
        b = f"blk.{layer}."
        h = norm(x, b + "attn_norm")
        q, k, v = (linear(h, b + "attn_" + part) for part in "qkv")
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        present = [f"present.{layer}.key", f"present.{layer}.value"]
        # GGUF keeps llama's heads in the order in which neighbours are rotated together.
        h = g.op("GroupQueryAttention", [q, k, v, *past, reach, total, cos, sin], b + "attn", [b + "attn", *present],
                 domain="com.microsoft", num_heads=n.heads, kv_num_heads=n.kv_heads, do_rotary=1, rotary_interleaved=1)
        x = g.op("Add", [x, linear(h, b + "attn_output")], b + "attn_sum")
        h = norm(x, b + "ffn_norm")
        gate, up = linear(h, b + "ffn_gate"), linear(h, b + "ffn_up")
        gate = g.op("Mul", [gate, g.op("Sigmoid", [gate], b + "ffn_sigmoid")], b + "ffn_silu")
        h = linear(g.op("Mul", [gate, up], b + "ffn_act"), b + "ffn_down")
        x = g.op("Add", [x, h], b + "ffn_sum")
    x = norm(x, "output_norm")
    if "output.weight" in source.tensors:
        head = g.weight("output.weight", source.tensor("output.weight").T)
    else:
        head = g.op("Transpose", [table], "token_embd.transposed", perm=[1, 0])
    g.op("MatMul", [x, head], "logits")

    def value(name, kind, *shape):
        return helper.make_tensor_value_info(name, kind, list(shape))

    def cache(prefix, length):
        return [value(f"{prefix}.{layer}.{part}", TensorProto.FLOAT, "batch", n.kv_heads, length, n.head)
                for layer in range(n.layers) for part in ("key", "value")]

    inputs = [value("input_ids", TensorProto.INT64, "batch", "length"),
              value("attention_mask", TensorProto.INT64, "batch", "total"), *cache("past_key_values", "past")]
    outputs = [value("logits", TensorProto.FLOAT, "batch", "length", n.vocab), *cache("present", "total")]
    graph = helper.make_graph(g.nodes, "decoder", inputs, outputs, g.initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edgebench")


def genai_config(source, n):
    bos, eos = int(source.need("tokenizer.ggml.bos_token_id")), int(source.need("tokenizer.ggml.eos_token_id"))
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": n.head,
        "hidden_size": n.width,
        "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask",
                   "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
        "outputs": {"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"},
        "num_attention_heads": n.heads,
        "num_hidden_layers": n.layers,
        "num_key_value_heads": n.kv_heads,
    }
    model = {"bos_token_id": bos, "context_length": n.context, "decoder": decoder, "eos_token_id": eos,
             "pad_token_id": eos, "type": "llama", "vocab_size": n.vocab}
    search = {"do_sample": False, "max_length": n.context, "min_length": 0, "num_beams": 1, "num_return_sequences": 1,
              "past_present_share_buffer": True, "repetition_penalty": 1.0, "temperature": 1.0, "top_k": 1, "top_p": 1.0}
    return {"model": model, "search": search}


def tokenizer(source):
    """SentencePiece as byte-pair merges: of all neighbours whose join is a piece, the best-scored is joined first."""
    if source.need("tokenizer.ggml.model") != "llama":
        sys.exit("only SentencePiece tokenizers (tokenizer.ggml.model = llama) are converted here")
    tokens, scores = source.need("tokenizer.ggml.tokens"), source.need("tokenizer.ggml.scores")
    kinds = source.need("tokenizer.ggml.token_type")
    control = {int(gguf.TokenType.UNKNOWN), int(gguf.TokenType.CONTROL), int(gguf.TokenType.USER_DEFINED)}
    special = [i for i, kind in enumerate(kinds) if int(kind) in control]
    ids = {t: i for i, t in enumerate(tokens) if int(kinds[i]) == int(gguf.TokenType.NORMAL)}
    merges = [(-scores[i], i, at, [t[:at], t[at:]]) for t, i in ids.items() for at in range(1, len(t))
              if t[:at] in ids and t[at:] in ids]
    space = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    prefix = bool(source.get("tokenizer.ggml.add_space_prefix", True))
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    normalizers = [{"type": "Prepend", "prepend": "\u2581"}] if prefix else []
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})
    # Splits nowhere: GenAI's reader then knows that pieces are not to be cut at word borders by a regular expression.
    whole = {"type": "Split", "pattern": {"String": "<!never!>"}, "behavior": "Isolated", "invert": False}
    unknown = tokens[int(source.get("tokenizer.ggml.unknown_token_id", 0))]
    bos, eos = (tokens[int(source.need(f"tokenizer.ggml.{name}_token_id"))] for name in ("bos", "eos"))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    data = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in special],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None if prefix else whole,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [space, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": {"type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [m[3] for m in sorted(merges)]},
    }
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": bool(source.get("tokenizer.ggml.add_bos_token", True)),
              "add_eos_token": bool(source.get("tokenizer.ggml.add_eos_token", False)), "bos_token": bos, "eos_token": eos,
              "unk_token": unknown, "clean_up_tokenization_spaces": False, "legacy": False}
    if template := source.get("tokenizer.chat_template"):
        config["chat_template"] = template
    return data, config


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    source = Source(args.model)
    sizes = Sizes(source)
    args.folder.mkdir(parents=True, exist_ok=True)

    def write(name, data):
        (args.folder / name).write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    data, config = tokenizer(source)
    write("tokenizer.json", data)
    write("tokenizer_config.json", config)
    write("genai_config.json", genai_config(source, sizes))
    onnx.save(build(source, sizes), args.folder / "model.onnx")
    print(args.folder, sum(f.stat().st_size for f in args.folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
