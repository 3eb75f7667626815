"""A checkpoint of the toy (a folder of Hugging Face) as GGUF, and the demo model as such a folder's weights.

For models of your own take llama.cpp's convert_hf_to_gguf.py; the demo model has a tokenizer that it does not know.

    python convert.py CHECKPOINT OUT.gguf
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import train_demo as demo  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

MODEL = ROOT / "datasets" / "demo" / "demo-f16.gguf"
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name):
    """`blk.3.attn_q.weight` as Hugging Face calls it."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def turn(tensor, name, to_hf):
    """In GGUF neighbouring rows of a head turn together, with Hugging Face those half a head apart."""
    if ".attn_q." not in name and ".attn_k." not in name:
        return tensor
    heads = tensor.shape[0] // demo.HEAD
    split = (heads, demo.HEAD // 2, 2) if to_hf else (heads, 2, demo.HEAD // 2)
    return tensor.reshape(*split, -1).swapaxes(1, 2).reshape(tensor.shape)


def demo_weights():
    """The demo model's weights under Hugging Face's names, and its tokenizer."""
    weights, tokenizer = demo.read_gguf(MODEL)
    return {hf_name(k): turn(v, k, True) for k, v in weights.items()}, tokenizer


def main():
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    saved, (names, tokenizer) = load_file(folder / "model.safetensors"), demo.read_gguf(MODEL)
    demo.write_gguf(out, {k: turn(saved[hf_name(k)].float(), k, False) for k in names}, tokenizer)


if __name__ == "__main__":
    main()
