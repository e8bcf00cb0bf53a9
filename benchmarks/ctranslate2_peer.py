"""Translate a test set with CTranslate2, from a checkpoint of fairseq's Transformer.

    python ctranslate2_peer.py DATA CHECKPOINT [options]

It prints its speed as fairseq-generate does, for programs.py. It needs `pip install ctranslate2`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import ctranslate2
import torch

from fairseq_wsum.plugin.loading import load_model


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("data", help="a folder of fairseq-preprocess")
    add("checkpoint", help="a checkpoint of --arch transformer, trained on it")
    add("--compute-type", default="float32", help="such as float32 (default) or int8")
    add("--batch-size", type=int, required=True)
    add("--beam", type=int, default=5)
    add("--length", type=int, required=True, help="the number of tokens in each translation")
    args = parser.parse_args()
    sentences = _sentences(args.checkpoint, args.data)
    with tempfile.TemporaryDirectory() as folder:
        converter = ctranslate2.converters.FairseqConverter(args.checkpoint, args.data)
        model = converter.convert(str(Path(folder) / "model"))
        translator = ctranslate2.Translator(
            model, compute_type=args.compute_type, intra_threads=torch.get_num_threads()
        )
        options = dict(beam_size=args.beam, max_batch_size=args.batch_size)
        steps = args.length + 1  # fairseq takes one for the end of the sentence
        options |= dict(min_decoding_length=steps, max_decoding_length=steps)
        translator.translate_batch(sentences[: args.batch_size], **options)
        start = time.perf_counter()
        translator.translate_batch(sentences, **options)
        seconds = time.perf_counter() - start
    rate = len(sentences) / seconds
    print(f"Translated {len(sentences)} sentences in {seconds:.1f}s ({rate:.2f} sentences/s)")


def _sentences(checkpoint: str, data: str) -> list[list[str]]:
    """The words of the test set."""
    _, _, task = load_model(Path(checkpoint), data=data)
    task.load_dataset("test")
    words, source = task.source_dictionary, task.dataset("test").src
    return [[words[k] for k in source[i].tolist()[:-1]] for i in range(len(source))]


if __name__ == "__main__":
    main()
