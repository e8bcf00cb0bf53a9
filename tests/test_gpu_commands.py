"""fairseq's commands on a GPU: train, resume, translate or score, with small models of each kind.

Skipped without a GPU. FAIRSEQ_WSUM_TEST_DEVICE=cpu runs those in fp32 on the CPU.
"""

import os
import re

import pytest
import torch
from commands import ROOT, USER_DIR, run

from fairseq_wsum.experiments.text_files import lines_of, write_lines

pytest.importorskip("fairseq")
DEVICE = os.environ.get("FAIRSEQ_WSUM_TEST_DEVICE", "cuda")
if DEVICE == "cuda" and not torch.cuda.is_available():
    pytest.skip("torch sees no GPU here", allow_module_level=True)

PRECISIONS = ["fp32", "fp16", "bf16", "amp"] if DEVICE == "cuda" else ["fp32"]
LAYERS = "--encoder-layers 2 --decoder-layers 2 --encoder-embed-dim 64 --label-smoothing 0.1"
LSTM = f"--arch wsum_lstm {LAYERS} --encoder-bidirectional --encoder-hidden-size 64"
LSTM += " --decoder-embed-dim 64 --decoder-hidden-size 128 --batch-size 32"
TRANSFORMER = f"--arch wsum_transformer {LAYERS} --encoder-ffn-embed-dim 128 --batch-size 32"
TRANSFORMER += " --decoder-attention-heads 4"
LM = "--task wsum_language_modeling --decoder-embed-dim 64 --decoder-layers 2 --batch-size 8"
LM += " --tokens-per-sample 16"
LM_TRANSFORMER = "--arch wsum_transformer_lm --decoder-ffn-embed-dim 128"
MODELS = {
    "lstm": f"{LSTM} --cell lstm",
    "no-srnn-hidden": f"{LSTM} --cell no-srnn-hidden",
    "gru": f"{LSTM} --cell gru",
    "transformer": f"{TRANSFORMER} --cell no-srnn-hidden",
    "lm-lstm": f"--arch wsum_lstm_lm {LM} --cell lstm",
    "lm-transformer": f"{LM_TRANSFORMER} {LM} --cell no-srnn-hidden --decoder-attention-heads 4",
}
TRAINING = "--criterion wsum_cross_entropy --optimizer adam --lr 0.001 --clip-norm 1 --seed 1"
TRAINING += " --num-workers 0 --log-format json --log-interval 1 --no-epoch-checkpoints"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The quickstart's corpus, as data for translation and for a language model."""
    folder = tmp_path_factory.mktemp("data")
    for path in (ROOT / "examples/quickstart/corpus").iterdir():
        size = 400 if path.stem == "train" else 40
        write_lines(folder / path.name, lines_of(path)[:size])
    parallel = [f"--{split}pref={folder}/{split}" for split in ("train", "valid", "test")]
    german = [f"{option}.de" for option in parallel]
    run("fairseq-preprocess", "-s", "en", "-t", "de", *parallel, "--destdir", folder / "mt")
    run("fairseq-preprocess", "--only-source", *german, "--destdir", folder / "lm")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_trained_resumed_and_used(model, precision, data, tmp_path) -> None:
    language_model = model.startswith("lm-")
    texts = data / ("lm" if language_model else "mt")
    train = ["bash", ROOT / "scripts/train.sh", texts, "--save-dir", tmp_path, *TRAINING.split()]
    train += [*MODELS[model].split(), "--precision", precision, "--gpus", int(DEVICE == "cuda")]
    run(*train, "--max-update", 8)
    log = run(*train, "--max-update", 16)
    assert "@ 8 updates" in log and '"valid_num_updates": "16"' in log
    assert (DEVICE == "cuda") == ('gb_free"' in log)  # it ran there
    assert not re.search(r'loss": "(nan|-?inf)"', log, re.I)

    here = ["--cpu"] if DEVICE == "cpu" else []
    here += ["--fp16"] if precision in ("fp16", "amp") else []
    checkpoint = tmp_path / "checkpoint_last.pt"
    if language_model:
        score = [ROOT / "scripts/perplexity.sh", texts, "--splits", "test"]
        assert re.search(r"perplexity \d", run("bash", *score, "--checkpoint", checkpoint, *here))
        return
    generate = ["fairseq-generate", texts, "--user-dir", USER_DIR, "--path", checkpoint]
    generate += ["--max-len-b", 20, "--required-batch-size-multiple", 1, "--batch-size", 16]
    scores = re.findall(r"^H-\d+\t(\S+)", run(*generate, *here), re.M)
    assert len(scores) == 40 and all(re.match(r"-\d", score) for score in scores)
