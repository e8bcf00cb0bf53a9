"""The real fairseq commands, each in its own process, on a tiny corpus."""

import random
import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("fairseq")
from commands import ROOT, USER_DIR, every_cells_options, run

from fairseq_wsum.experiments.checkpoints import average_last
from fairseq_wsum.plugin.models.wsum_lstm import WsumLSTMModel
from fairseq_wsum.plugin.models.wsum_transformer import WsumTransformerModel

SENTENCES = {"train": 40, "valid": 7, "test": 9}
TINY = [
    *("--encoder-embed-dim", "8", "--decoder-embed-dim", "8"),
    *("--encoder-layers", "1", "--decoder-layers", "1"),
]
TRAINING = [
    *("--optimizer", "adam", "--lr", "0.01", "--batch-size", "16", "--seed", "1", "--cpu"),
    *("--required-batch-size-multiple", "1", "--log-format", "json", "--num-workers", "0"),
]

# These options make two runs equal. After resuming, fairseq makes other batches of the same
# sentences, so one batch has all of them. Its reader draws random numbers in a thread, so there is
# no dropout.
REPEATABLE = ["--share-all-embeddings", "--dropout", "0", "--batch-size", "64"]


def train(data: Path, save_dir: Path, arch: str, *options: object, check: bool = True) -> str:
    plugin = ("--user-dir", USER_DIR, "--save-dir", save_dir)
    return run(
        "fairseq-train", data, *plugin, "--arch", arch, *TINY, *TRAINING, *options, check=check
    )


def generate(data: Path, path: object, *options: object) -> dict[str, list[str]]:
    """Lines of fairseq-generate by their letter, in the order of the data."""
    output = run(
        "fairseq-generate",
        data,
        *("--user-dir", USER_DIR, "--path", path, "--cpu", "--beam", "3"),
        *("--max-len-b", "12", "--required-batch-size-multiple", "1", "--batch-size", "4"),
        *options,
    )
    lines = sorted(re.findall(r"^([A-Z])-(\d+)\t(.*)$", output, re.M), key=lambda m: int(m[1]))
    result: dict[str, list[str]] = {"all": [output]}
    for letter, _, text in lines:
        result.setdefault(letter, []).append(text.split("\t")[-1])
    return result


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up language whose translation reverses the words; one dictionary for both sides."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    for split, n in SENTENCES.items():
        with (folder / f"{split}.en").open("w") as en, (folder / f"{split}.de").open("w") as de:
            for _ in range(n):
                words = [f"w{rng.randrange(12)}" for _ in range(rng.randint(1, 6))]
                if split == "test":
                    words[0] = "unheard-of"
                print(*words, file=en)
                print(*reversed(words), file=de)
    prefixes = [f"--{split}pref={folder / split}" for split in SENTENCES]
    binary = folder / "binary"
    run(
        "fairseq-preprocess",
        *("-s", "en", "-t", "de", "--joined-dictionary", "--destdir", binary),
        *prefixes,
    )
    return binary


@pytest.fixture(scope="session")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training of two epochs."""
    save_dir = tmp_path_factory.mktemp("whole")
    train(data, save_dir, "wsum_lstm", *REPEATABLE, "--max-epoch", 2)
    return save_dir


@pytest.fixture(scope="session")
def transformer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a Transformer of gated sums."""
    save_dir = tmp_path_factory.mktemp("transformer")
    train(data, save_dir, "wsum_transformer", *REPEATABLE, "--max-epoch", 2)
    return save_dir


every_model = pytest.mark.parametrize(
    ("trained", "architecture"),
    [("model", WsumLSTMModel), ("transformer", WsumTransformerModel)],
    ids=["lstm", "transformer"],
)


@every_cells_options(usual=("window",))
def test_every_cell_trains_resumes_and_translates(cell, data, tmp_path) -> None:
    output = train(data, tmp_path, "wsum_lstm", *cell, "--max-epoch", 1)
    assert f"'cell': '{cell[1]}'" in output
    output = train(data, tmp_path, "wsum_lstm", *cell, "--max-epoch", 2)
    assert "Loaded checkpoint" in output and "begin training epoch 2" in output
    assert "begin training epoch 1" not in output
    lines = generate(data, tmp_path / "checkpoint_last.pt", "--scoring", "sacrebleu")
    assert len(lines["H"]) == len(lines["T"]) == SENTENCES["test"]
    assert "BLEU" in lines["all"][0]


def test_checkpoints_with_eval_bleu_can_be_read_again(data, tmp_path) -> None:
    """With --eval-bleu fairseq saves numpy scalars in checkpoints."""
    score = ["--eval-bleu", "--eval-bleu-args", '{"beam": 2}', "--best-checkpoint-metric", "bleu"]
    score.append("--maximize-best-checkpoint-metric")
    train(data, tmp_path, "wsum_lstm", *score, "--max-epoch", 1)
    output = train(data, tmp_path, "wsum_lstm", *score, "--max-epoch", 2)
    assert "Loaded checkpoint" in output and "begin training epoch 2" in output
    average = tmp_path / "average.pt"
    average_last(tmp_path, 2, average)
    assert len(generate(data, average)["H"]) == SENTENCES["test"]


@every_model
def test_validate_and_interactive_read_the_checkpoint(trained, architecture, data, request) -> None:
    path = request.getfixturevalue(trained) / "checkpoint_last.pt"
    plugin = ("--user-dir", USER_DIR, "--path", path, "--cpu")
    output = run("fairseq-validate", data, *plugin, "--task", "translation", "--batch-size", 4)
    assert re.search(r"valid on 'valid' subset \| loss \d", output)
    output = run("fairseq-interactive", data, *plugin, "--beam", 2, stdin="w1 w2\nw3\n")
    assert len(re.findall(r"^H-\d\t", output, re.M)) == 2


@every_model
def test_from_pretrained_translates_like_the_command(trained, architecture, data, request) -> None:
    folder = request.getfixturevalue(trained)
    expected = generate(data, folder / "checkpoint_last.pt")
    hub = architecture.from_pretrained(str(folder), "checkpoint_last.pt", str(data)).eval()
    found = hub.translate(expected["S"], beam=3, max_len_b=12)
    assert found == expected["H"]


def test_from_pretrained_gives_alignments(model, data) -> None:
    hard = dict(print_alignment="hard")
    hub = WsumLSTMModel.from_pretrained(str(model), "checkpoint_last.pt", str(data), **hard).eval()
    ((best, *_),) = hub.generate([hub.encode("a man")], beam=3, max_len_b=12, **hard)
    assert [target for _, target in best["alignment"]] == list(range(len(best["tokens"]) - 1))


def test_an_ensemble_translates_and_prints_alignments(data, model) -> None:
    pair = f"{model / 'checkpoint1.pt'}:{model / 'checkpoint2.pt'}"
    lines = generate(data, pair, "--print-alignment")
    assert len(lines["A"]) == SENTENCES["test"]
    for source, hypothesis, alignment in zip(lines["S"], lines["H"], lines["A"], strict=True):
        pairs = [tuple(map(int, pair.split("-"))) for pair in alignment.split()]
        assert [target for _, target in pairs] == list(range(len(hypothesis.split())))
        assert all(0 <= position < len(source.split()) for position, _ in pairs)


def test_options_of_fairseq_can_be_combined(data, tmp_path) -> None:
    """Adaptive softmax, 16 bits, residuals and other shapes in one training."""
    train(
        data,
        tmp_path,
        "wsum_lstm",
        *("--criterion", "adaptive_loss", "--adaptive-softmax-cutoff", "8"),
        *("--ddp-backend", "legacy_ddp"),
        *("--bf16", "--residuals", "--max-epoch", 1),
        *("--decoder-attention-heads", 2),
        *("--encoder-layers", 2, "--decoder-layers", 3, "--encoder-bidirectional"),
        *("--decoder-input-feeding", False, "--cell", "no-srnn", "--coupled-gates"),
    )
    lines = generate(data, tmp_path / "checkpoint_last.pt")
    assert len(lines["H"]) == SENTENCES["test"]


def test_a_transformer_with_gated_sums_trains_resumes_and_translates(data, tmp_path) -> None:
    """With many of fairseq's options, an ensemble, unknown words and pruned layers."""
    options = [
        *("--encoder-attention-heads", 2, "--decoder-attention-heads", 2, "--cell", "sru"),
        *("--encoder-ffn-embed-dim", 10, "--encoder-layers", 2, "--decoder-layers", 2),
        *("--encoder-normalize-before", "--decoder-normalize-before", "--activation-fn", "gelu"),
        *("--attention-dropout", 0.1, "--activation-dropout", 0.1, "--layernorm-embedding"),
        *("--encoder-layerdrop", 0.2, "--decoder-layerdrop", 0.2, "--share-all-embeddings"),
        *("--criterion", "wsum_cross_entropy", "--label-smoothing", 0.1, "--bf16"),
    ]
    train(data, tmp_path, "wsum_transformer", *options, "--max-epoch", 1)
    output = train(data, tmp_path, "wsum_transformer", *options, "--max-epoch", 2)
    assert "Loaded checkpoint" in output and "begin training epoch 2" in output
    checkpoint = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert checkpoint["cfg"]["model"]["cell"] == "sru"
    pair = f"{tmp_path / 'checkpoint1.pt'}:{tmp_path / 'checkpoint2.pt'}"
    lines = generate(data, pair, "--print-alignment", "--scoring", "sacrebleu")
    assert len(lines["H"]) == len(lines["A"]) == SENTENCES["test"] and "BLEU" in lines["all"][0]
    kept = "{'encoder_layers_to_keep': '0,1', 'decoder_layers_to_keep': '1'}"
    pruned = ("--model-overrides", kept)
    assert len(generate(data, tmp_path / "checkpoint_last.pt", *pruned)["H"]) == SENTENCES["test"]


def test_a_mixed_transformer_trains_with_an_adaptive_softmax(data, tmp_path) -> None:
    options = ["--cell", "gru", "--encoder-attention-layers", "all", "--decoder-learned-pos"]
    options += ["--encoder-attention-heads", 2, "--decoder-attention-heads", 2]
    options += ["--token-positional-embeddings", "--ddp-backend", "legacy_ddp"]
    options += ["--adaptive-softmax-cutoff", "8"]
    refused = ["--criterion", "wsum_cross_entropy", "--label-smoothing", "0.1"]
    output = train(data, tmp_path, "wsum_transformer", *options, *refused, check=False)
    assert "give --criterion adaptive_loss" in output
    options += ["--criterion", "adaptive_loss"]
    train(data, tmp_path, "wsum_transformer", *options, "--max-epoch", 1)
    assert len(generate(data, tmp_path / "checkpoint_last.pt")["H"]) == SENTENCES["test"]


@pytest.mark.parametrize("what", ["dropout", "joint-gradients", "single-step", "output-copy"])
def test_the_benchmarks_measure_what_an_optimisation_gains(what, data, model) -> None:
    options = ["--checkpoint", model / "checkpoint_last.pt", "--batches", 2, "--rounds", 2]
    found = run("python", ROOT / "benchmarks/gains.py", data, "--what", what, *options)
    assert re.search(rf"with {what} [\d.]+ times as fast", found)


@pytest.mark.slow
def test_the_benchmarks_compare_both_programs_with_fairseqs_own_models(data) -> None:
    """To decode, `decode` trains its models first."""
    common = ["--cells", "no-srnn-hidden", "--rounds", 1, "--batch-size", 4]
    peer, ours = "fairseq's own", "no-srnn-hidden"
    searching = [peer, f"{peer} with the search of this package", ours, f"{ours}, bf16"]
    for kind, options, models in (
        ("train", ["--updates", 4], [peer, f"{ours}, input feeding off"]),
        ("decode", ["--model", "transformer", "--length", 3, "--bf16"], searching),
    ):
        printed = run("python", ROOT / "benchmarks/programs.py", kind, data, *options, *common)
        rates = re.findall(r"^\| (\S.*?) \| ([\d.,]+) \| [\d.]+ \|$", printed, re.M)
        assert [name for name, _ in rates] == models, printed
        assert all(float(rate.replace(",", "")) > 0 for _, rate in rates)
