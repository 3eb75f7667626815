"""The toy: Hugging Face's `Trainer` fine-tunes the demo model, and stops when the board sees no gain any more.

    python train.py FOLDER       checkpoints in FOLDER/checkpoints, `edgebench watch` in FOLDER/watch

Needs transformers, accelerate, torch and gguf, and edgebench in PATH or in $EDGEBENCH.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import convert
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgebench_callback import EdgebenchCallback  # noqa: E402

demo = convert.demo


def model(weights):
    config = LlamaConfig(
        vocab_size=demo.VOCAB, hidden_size=demo.WIDTH, num_hidden_layers=demo.LAYERS, intermediate_size=demo.FF,
        num_attention_heads=demo.HEADS, num_key_value_heads=demo.KV_HEADS, max_position_embeddings=demo.CONTEXT,
        rms_norm_eps=demo.EPS, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )
    llama = LlamaForCausalLM(config)
    missing, unexpected = llama.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], []) or not missing, (missing, unexpected)
    return llama


def samples(tokenizer, count):
    """The new task and the old ones in turn, the loss on the answers."""
    rng, out = random.Random("huggingface"), []
    for i in range(count):
        task = demo.TASKS["smallest"] if i % 2 else demo.draw_task(rng)
        record = demo.draw(task, rng, "train")[1]
        pair = (demo.prompt_of(task, record), " " + record["answer"])
        ids, weights = demo.encode_document(tokenizer, [pair])
        out.append({"input_ids": ids, "labels": [i if w == 1.0 else -100 for i, w in zip(ids, weights)]})
    return out


def collate(rows):
    length = max(len(r["input_ids"]) for r in rows)
    pad = {"input_ids": demo.Tokenizer.EOS, "labels": -100}
    batch = {k: torch.tensor([r[k] + [p] * (length - len(r[k])) for r in rows]) for k, p in pad.items()}
    lengths = torch.tensor([len(r["input_ids"]) for r in rows])
    return batch | {"attention_mask": (torch.arange(length) < lengths[:, None]).long()}


def main():
    folder = Path(sys.argv[1])
    checkpoints, out = folder / "checkpoints", folder / "watch"
    checkpoints.mkdir(parents=True, exist_ok=True)
    weights, tokenizer = convert.demo_weights()
    arguments = TrainingArguments(
        output_dir=str(checkpoints), max_steps=400, save_steps=10, per_device_train_batch_size=24, learning_rate=3e-4,
        lr_scheduler_type="constant", logging_steps=10, report_to=[], use_cpu=True, seed=1, disable_tqdm=True,
    )
    trainer = Trainer(model(weights), arguments, data_collator=collate, train_dataset=samples(tokenizer, 9600))
    trainer.add_callback(EdgebenchCallback(out, trainer.log, wait=120))
    job = Path(__file__).with_name("job.toml")
    command = [os.environ.get("EDGEBENCH", "edgebench"), "watch", checkpoints, "--job", job, "--out", out]
    environment = os.environ | {"PYTHON": sys.executable}
    watch = subprocess.Popen([*command, "--poll", "200", "--pid", str(os.getpid())], env=environment)
    try:
        trainer.train()
    finally:
        watch.terminate()
        watch.wait()
    for line in trainer.state.log_history:
        if "board/acc" in line:
            print(f"step {line['board/step']}: {line['board/acc']:.3f} [{line['board/lo']:.3f}, {line['board/hi']:.3f}]")
    print(f"stopped at step {trainer.state.global_step} of {arguments.max_steps}")


if __name__ == "__main__":
    main()
