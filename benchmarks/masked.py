"""Masked-language training of the published backbone on the texts that its tasks learn from.

    python benchmarks/masked.py --tokens 1_500_000
    python benchmarks/ablation.py --recipe sentiment --tokens 200_000 --only masked_language

As BERT does it (Devlin et al. 2019): of 15 % of the tokens, four fifths are masked, a tenth is
another, a tenth stays; the words are read off the vectors of tokens. The texts are news, passages
of Wikipedia, reviews, posts, tweets and sentences of film reviews, none held out and none of a test
set. What comes out lies in runs/masked as a checkpoint of transformers.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForMaskedLM

from nlpkit.engines import choose
from nlpkit.engines.torch import training_precision
from nlpkit.huggingface import ANCESTOR, load_backbone, load_tokenizer, resolve
from nlpkit.readers import read_classified
from nlpkit.training.recipe import load_recipe_module

#: Where it is left, and ablation.py finds it.
MASKED = Path("runs") / "masked"
SHARE, TO_MASK, TO_OTHER = 0.15, 0.8, 0.1
LONGEST, BATCH_TOKENS = 192, 2048
#: Batches that are sorted by length together.
SORTED = 50
NOT_A_TARGET = -100


def texts() -> list[str]:
    """Everything that entities, sentiment and answers learn from, each text once."""
    sentiment, entities, reviews = (
        load_recipe_module(name) for name in ("sentiment", "base_en_entities", "base_en_reviews")
    )
    sentences, _ = sentiment.sst()
    tweets = read_classified(sentiment.TWEETS.path())
    known = [*entities.texts(), *reviews.reviews(), *(e.text for e in (*sentences, *tweets))]
    return [*dict.fromkeys(known)]


def batches(rows: list[list[int]], rng: random.Random) -> Iterator[Tensor]:
    """All rows in random order, those of a batch about as long, padded with 0."""
    rng.shuffle(rows)
    for first in range(0, len(rows), SORTED * 16):
        some = sorted(rows[first : first + SORTED * 16], key=len)
        made: list[list[list[int]]] = [[]]
        for row in some:
            if made[-1] and (len(made[-1]) + 1) * len(row) > BATCH_TOKENS:
                made.append([])
            made[-1].append(row)
        rng.shuffle(made)
        for batch in made:
            padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in batch], True)
            yield padded


def hidden_words(ids: Tensor, special: Tensor, mask: int, n_words: int) -> tuple[Tensor, Tensor]:
    """The ids with some words hidden, and those words, NOT_A_TARGET elsewhere."""
    chosen = (torch.rand(ids.shape) < SHARE) & ~torch.isin(ids, special)
    how = torch.rand(ids.shape)
    read = ids.clone()
    read[chosen & (how < TO_MASK)] = mask
    other = chosen & (how >= TO_MASK) & (how < TO_MASK + TO_OTHER)
    read[other] = torch.randint(n_words, (int(other.sum()),))
    return read, ids.masked_fill(~chosen, NOT_A_TARGET)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, default=1_500_000)
    parser.add_argument("--rate", type=float, default=1e-4, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=MASKED)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    device = choose(options.device).device
    tokenizer: Any = load_tokenizer(ANCESTOR)
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts())]
    print(f"{len(rows):,} texts, {sum(map(len, rows)):,} tokens; {options.tokens:,} are read")

    bert: Any = load_backbone(ANCESTOR)
    model: Any = BertForMaskedLM(bert.config)
    model.bert.load_state_dict(bert.state_dict(), strict=False)
    model.tie_weights()
    model.to(device).train()
    fresh = [p for name, p in model.named_parameters() if name.startswith("cls.")]
    known = [p for name, p in model.named_parameters() if not name.startswith("cls.")]
    groups = [{"params": known, "peak": options.rate}, {"params": fresh, "peak": 1e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, eps=1e-6, fused=True)
    special = torch.tensor([tokenizer.token_to_id(t) for t in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")])
    mask, n_words = tokenizer.token_to_id("[MASK]"), tokenizer.get_vocab_size()

    rng = random.Random(options.seed)
    read, step, recent, begun = 0, 0, [], time.monotonic()
    kind, in_bf16 = device.split(":")[0], training_precision(device) == "bf16"
    while read < options.tokens:
        for ids in batches(rows, rng):
            share = read / options.tokens
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * min(1.0, share / 0.06 + 1e-3) * (1 - share)
            inputs, targets = (t.to(device) for t in hidden_words(ids, special, mask, n_words))
            with torch.autocast(kind, torch.bfloat16, enabled=in_bf16):
                states = model.bert(inputs, attention_mask=(inputs != 0).long()).last_hidden_state
                chosen = targets != NOT_A_TARGET
                logits = model.cls(states[chosen])
            loss = functional.cross_entropy(logits.float(), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step, read = step + 1, read + int((ids != 0).sum())
            recent.append(float(loss.detach()))
            if step % 50 == 0 or read >= options.tokens:
                seconds = time.monotonic() - begun
                line = {"step": step, "tokens": read, "minutes": round(seconds / 60, 2)}
                print(json.dumps(line | {"loss": round(sum(recent) / len(recent), 4)}), flush=True)
                recent = []
            if read >= options.tokens:
                break

    model.bert.save_pretrained(options.output)
    shutil.copy(Path(resolve(ANCESTOR)) / "tokenizer.json", options.output)
    print(f"{options.output} is there")


if __name__ == "__main__":
    main()
