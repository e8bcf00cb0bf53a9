"""The real fairseq commands, each in its own process, on a tiny corpus."""

import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("fairseq")
import translation_corpus
from commands import ROOT, USER_DIR, every_cells_options, run, train

from fairseq_wsum.plugin.models.wsum_lstm import WsumLSTMModel
from fairseq_wsum.plugin.models.wsum_transformer import WsumTransformerModel

SENTENCES = 7
TINY = translation_corpus.TINY.split()
TRANSFORMER = ["--arch", "wsum_transformer"]


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
def model(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    save_dir = tmp_path_factory.mktemp("lstm")
    train(prepared, save_dir, *TINY, "--share-all-embeddings", "--max-epoch", 2)
    return save_dir


@pytest.fixture(scope="session")
def transformer(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Transformer of gated sums, resumed after an epoch, with many of fairseq's options."""
    save_dir = tmp_path_factory.mktemp("transformer")
    options = [
        *("--encoder-attention-heads", 2, "--decoder-attention-heads", 2, "--cell", "sru"),
        *("--encoder-ffn-embed-dim", 10, "--encoder-layers", 2, "--decoder-layers", 2),
        *("--encoder-normalize-before", "--decoder-normalize-before", "--activation-fn", "gelu"),
        *("--attention-dropout", 0.1, "--activation-dropout", 0.1, "--layernorm-embedding"),
        *("--encoder-layerdrop", 0.2, "--decoder-layerdrop", 0.2, "--share-all-embeddings"),
        *("--criterion", "wsum_cross_entropy", "--label-smoothing", 0.1, "--bf16"),
    ]
    train(prepared, save_dir, *TINY, *TRANSFORMER, *options, "--max-epoch", 1)
    output = train(prepared, save_dir, *TINY, *TRANSFORMER, *options, "--max-epoch", 2)
    assert "Loaded checkpoint" in output and "begin training epoch 2" in output
    return save_dir


every_model = pytest.mark.parametrize(
    ("trained", "architecture"),
    [("model", WsumLSTMModel), ("transformer", WsumTransformerModel)],
    ids=["lstm", "transformer"],
)


@every_cells_options(usual=("window",))
def test_every_cell_trains_resumes_and_translates(cell, prepared, tmp_path) -> None:
    output = train(prepared, tmp_path, *TINY, *cell, "--max-epoch", 1)
    assert f"'cell': '{cell[1]}'" in output
    output = train(prepared, tmp_path, *TINY, *cell, "--max-epoch", 2)
    assert "Loaded checkpoint" in output and "begin training epoch 2" in output
    assert "begin training epoch 1" not in output
    lines = generate(prepared, tmp_path / "checkpoint_last.pt", "--scoring", "sacrebleu")
    assert len(lines["H"]) == len(lines["T"]) == SENTENCES
    assert "BLEU" in lines["all"][0]


@every_model
def test_validate_and_interactive_read_the_checkpoint(
    trained, architecture, prepared, request
) -> None:
    path = request.getfixturevalue(trained) / "checkpoint_last.pt"
    plugin = ("--user-dir", USER_DIR, "--path", path, "--cpu")
    output = run("fairseq-validate", prepared, *plugin, "--task", "translation", "--batch-size", 4)
    assert re.search(r"valid on 'valid' subset \| loss \d", output)
    output = run("fairseq-interactive", prepared, *plugin, "--beam", 2, stdin="▁the ▁man\n▁a\n")
    assert len(re.findall(r"^H-\d\t", output, re.M)) == 2


@every_model
def test_from_pretrained_translates_like_the_command(
    trained, architecture, prepared, request
) -> None:
    folder = request.getfixturevalue(trained)
    expected = generate(prepared, folder / "checkpoint_last.pt")
    hub = architecture.from_pretrained(str(folder), "checkpoint_last.pt", str(prepared)).eval()
    found = hub.translate(expected["S"], beam=3, max_len_b=12)
    assert found == expected["H"]


def test_from_pretrained_gives_alignments(model, prepared) -> None:
    hard = dict(print_alignment="hard")
    hub = WsumLSTMModel.from_pretrained(
        str(model), "checkpoint_last.pt", str(prepared), **hard
    ).eval()
    ((best, *_),) = hub.generate([hub.encode("a man")], beam=3, max_len_b=12, **hard)
    assert [target for _, target in best["alignment"]] == list(range(len(best["tokens"]) - 1))


def test_options_of_fairseq_can_be_combined(prepared, tmp_path) -> None:
    """Adaptive softmax, 16 bits, residuals and other shapes in one training."""
    train(
        prepared,
        tmp_path,
        *TINY,
        *("--criterion", "adaptive_loss", "--adaptive-softmax-cutoff", "8"),
        *("--ddp-backend", "legacy_ddp"),
        *("--bf16", "--residuals", "--max-epoch", 1),
        *("--decoder-attention-heads", 2),
        *("--encoder-layers", 2, "--decoder-layers", 3, "--encoder-bidirectional"),
        *("--decoder-input-feeding", False, "--cell", "no-srnn", "--coupled-gates"),
    )
    lines = generate(prepared, tmp_path / "checkpoint_last.pt")
    assert len(lines["H"]) == SENTENCES


def test_a_transformer_with_gated_sums_translates(prepared, transformer) -> None:
    """With an ensemble, unknown words and pruned layers."""
    checkpoint = torch.load(transformer / "checkpoint_last.pt", weights_only=True)
    assert checkpoint["cfg"]["model"]["cell"] == "sru"
    pair = f"{transformer / 'checkpoint1.pt'}:{transformer / 'checkpoint2.pt'}"
    lines = generate(prepared, pair, "--print-alignment", "--scoring", "sacrebleu")
    assert len(lines["H"]) == len(lines["A"]) == SENTENCES and "BLEU" in lines["all"][0]
    kept = "{'encoder_layers_to_keep': '0,1', 'decoder_layers_to_keep': '1'}"
    pruned = ("--model-overrides", kept)
    assert len(generate(prepared, transformer / "checkpoint_last.pt", *pruned)["H"]) == SENTENCES


def test_a_mixed_transformer_trains_with_an_adaptive_softmax(prepared, tmp_path) -> None:
    options = ["--cell", "gru", "--encoder-attention-layers", "all", "--decoder-learned-pos"]
    options += ["--encoder-attention-heads", 2, "--decoder-attention-heads", 2]
    options += ["--token-positional-embeddings", "--ddp-backend", "legacy_ddp"]
    options += ["--adaptive-softmax-cutoff", "8"]
    refused = ["--criterion", "wsum_cross_entropy", "--label-smoothing", "0.1"]
    output = train(prepared, tmp_path, *TINY, *TRANSFORMER, *options, *refused, check=False)
    assert "give --criterion adaptive_loss" in output
    options += ["--criterion", "adaptive_loss"]
    train(prepared, tmp_path, *TINY, *TRANSFORMER, *options, "--max-epoch", 1)
    assert len(generate(prepared, tmp_path / "checkpoint_last.pt")["H"]) == SENTENCES


@pytest.mark.slow
@pytest.mark.parametrize("what", ["dropout", "joint-gradients", "single-step", "output-copy"])
def test_the_benchmarks_measure_what_an_optimisation_gains(what, prepared, model) -> None:
    options = ["--checkpoint", model / "checkpoint_last.pt", "--batches", 2, "--rounds", 2]
    found = run("python", ROOT / "benchmarks/gains.py", prepared, "--what", what, *options)
    assert re.search(rf"with {what} [\d.]+ times as fast", found)


@pytest.mark.slow
def test_the_benchmarks_compare_both_programs_with_fairseqs_own_models(prepared) -> None:
    """To decode, `decode` trains its models first."""
    common = ["--cells", "no-srnn-hidden", "--rounds", 1, "--batch-size", 4]
    peer, ours = "fairseq's own", "no-srnn-hidden"
    searching = [peer, f"{peer} with the search of this package", ours, f"{ours}, bf16"]
    for kind, options, models in (
        ("train", ["--updates", 4], [peer, f"{ours}, input feeding off"]),
        ("decode", ["--model", "transformer", "--length", 3, "--bf16"], searching),
    ):
        printed = run("python", ROOT / "benchmarks/programs.py", kind, prepared, *options, *common)
        rates = re.findall(r"^\| (\S.*?) \| ([\d.,]+) \| [\d.]+ \|$", printed, re.M)
        assert [name for name, _ in rates] == models, printed
        assert all(float(rate.replace(",", "")) > 0 for _, rate in rates)
