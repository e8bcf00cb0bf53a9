"""Language models through the real fairseq commands, on a tiny corpus."""

import json
import math
import random
import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("fairseq")
from commands import ROOT, USER_DIR, assert_same_weights, every_cells_options, run
from fairseq.data import Dictionary

from fairseq_wsum.plugin.models.wsum_lstm_lm import WsumLSTMLanguageModel

TASK = ("--task", "wsum_language_modeling")
MODEL = [
    *("--arch", "wsum_lstm_lm", "--decoder-embed-dim", 8, "--decoder-layers", 2),
    *("--dropout", 0, "--init-range", 0.5),
]
TRANSFORMER = [
    *("--arch", "wsum_transformer_lm", "--cell", "mingru", "--decoder-embed-dim", 8),
    *("--decoder-layers", 2, "--decoder-attention-heads", 2, "--decoder-ffn-embed-dim", 16),
    *("--dropout", 0),
]
TRAINING = [
    *("--optimizer", "sgd", "--lr", 1.0, "--clip-norm", 5, "--sentence-avg", "--seed", 1, "--cpu"),
    *("--batch-size", 3, "--tokens-per-sample", 7, "--num-workers", 0, "--log-format", "json"),
    *("--log-interval", 1),
]
UPDATES = 12  # of an epoch, with these


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text in which the next word follows from the last one, mostly; some words are cut (@@)."""
    folder = tmp_path_factory.mktemp("text")
    rng = random.Random(0)
    for split, tokens in (("train", 3 * 7 * UPDATES - 4), ("valid", 80), ("test", 90)):
        text: list[str] = []
        k = 0
        while len(text) < tokens:
            k = (k * 3 + 1) % 11 if rng.random() < 0.8 else rng.randrange(11)
            text += [f"w{k}@@", "x"] if k == 5 else [f"w{k}"]
            if rng.random() < 0.15:
                text.append("\n")  # the end of a sentence is a token too
        text = [*text[: tokens - 1], "\n"]
        (folder / split).write_text(" ".join(text).replace(" \n ", "\n").replace(" \n", "\n"))
    return folder


@pytest.fixture(scope="session")
def data(texts: Path) -> Path:
    binary = texts / "binary"
    prefixes = [f"--{split}pref={texts / split}" for split in ("train", "valid", "test")]
    run("fairseq-preprocess", "--only-source", "--destdir", binary, *prefixes)
    return binary


def train(data: object, save_dir: Path, *options: object, model: list = MODEL) -> list[dict]:
    """Train; the statistics of each update and validation, in order."""
    plugin = ("--user-dir", USER_DIR, "--save-dir", save_dir)
    return statistics_in(run("fairseq-train", data, *plugin, *TASK, *model, *TRAINING, *options))


def statistics_in(output: str) -> list[dict]:
    return [json.loads(line) for line in re.findall(r"\{.*\}$", output, re.M) if '"epoch"' in line]


def losses(statistics: list[dict]) -> list[float]:
    return [float(line["loss"]) for line in statistics if "loss" in line]


def perplexities(statistics: list[dict]) -> list[float]:
    return [float(line["valid_ppl"]) for line in statistics if "valid_ppl" in line]


def evaluate(data: Path, folder: Path, *options: object) -> str:
    """The output of fairseq-eval-lm for the last checkpoint of a training."""
    path = folder / "checkpoint_last.pt"
    command = ["fairseq-eval-lm", data, "--user-dir", USER_DIR, *TASK, "--cpu", "--path", path]
    return run(*command, *options)


@pytest.fixture(scope="session")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training of two epochs."""
    save_dir = tmp_path_factory.mktemp("whole")
    statistics = train(data, save_dir, "--max-epoch", 2, "--cell", "no-srnn")
    updates = [line for line in statistics if "loss" in line and "update" in line]
    assert len(updates) == 2 * UPDATES
    return save_dir


@pytest.fixture(scope="session")
def transformer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    save_dir = tmp_path_factory.mktemp("transformer")
    train(data, save_dir, "--max-epoch", 1, model=TRANSFORMER)
    return save_dir


def test_a_training_resumed_within_an_epoch_equals_an_uninterrupted_one(
    data, model, tmp_path
) -> None:
    """The validation at the stop changes no state of the training, and another seed no batch."""
    train(data, tmp_path, "--cell", "no-srnn", "--max-update", UPDATES + 5)
    saved = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    position = saved["extra_state"]["train_iterator"]
    assert position["iterations_in_epoch"] == 5
    ((step, (h, c)),) = position["stream_states"][0].items()
    assert step == 5 and h.shape == c.shape == (2, 3, 8)
    train(data, tmp_path, "--cell", "no-srnn", "--max-epoch", 2, "--seed", 7)
    assert_same_weights(tmp_path, model)


def test_a_save_without_a_validation_lacks_the_states_of_the_other_processes(
    data, tmp_path
) -> None:
    arguments = [data, "--save-dir", tmp_path, *TASK, *MODEL, *TRAINING, "--cpu-processes", 2]
    script = ["bash", ROOT / "scripts/train.sh", *arguments, "--disable-validation"]
    run(*script, "--max-update", 3)
    path = tmp_path / "checkpoint_last.pt"
    position = torch.load(path, weights_only=True)["extra_state"]["train_iterator"]
    assert position["iterations_in_epoch"] == 3 and list(position["stream_states"]) == [0]
    output = run(*script, "--max-update", 4)
    assert "step 3 of group 1 starts from a state of zero" in output
    assert "of group 0 starts from a state of zero" not in output


def test_two_processes_equal_one_with_update_freq_2(data, tmp_path) -> None:
    """With the default of --ddp-backend."""
    options = ["--max-epoch", 1, "--cell", "no-srnn-hidden"]
    options += ["--lr", 0.2]  # at 1 the differences of rounding grow
    train(data, tmp_path / "one", *options, "--update-freq", 2)
    arguments = [data, "--save-dir", tmp_path / "two", *TASK, *MODEL, *TRAINING, *options]
    run("bash", ROOT / "scripts/train.sh", "--cpu-processes", 2, *arguments)
    assert_same_weights(tmp_path / "one", tmp_path / "two", rtol=1e-5, atol=1e-6)


def test_one_process_with_update_freq_2_continues_the_streams_of_two(data, tmp_path) -> None:
    """Two processes start the training, with an adaptive softmax, and one finishes it."""
    arguments = [data, *TASK, *MODEL, *TRAINING, "--ddp-backend", "legacy_ddp"]
    arguments += ["--criterion", "adaptive_loss", "--adaptive-softmax-cutoff", 8]
    arguments += ["--lr", 0.2, "--validate-interval-updates", 4]  # at 1, rounding grows
    script = ["bash", ROOT / "scripts/train.sh", *arguments]
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    two = statistics_in(run(*script, "--cpu-processes", 2, "--save-dir", whole, "--max-epoch", 1))
    script += ["--save-dir", parts]
    run(*script, "--cpu-processes", 2, "--max-update", 2)
    output = run(*script, "--gpus", 0, "--max-epoch", 1, "--update-freq", "2,1")
    assert "Loaded checkpoint" in output and "starts from a state of zero" not in output
    one = statistics_in(output)
    assert len(losses(two)) == UPDATES // 2
    assert losses(one) == pytest.approx(losses(two)[2:], abs=2e-3)  # printed with three decimals
    assert_same_weights(parts, whole, rtol=1e-5, atol=1e-6)
    assert len(perplexities(one)) == 2
    assert perplexities(one) == pytest.approx(perplexities(two), rel=1e-4)
    output = run(*script, "--gpus", 0, "--max-epoch", 2, "--update-freq", "2,1")
    assert f"grouped total_num_itrs = {UPDATES}" in output  # the second epoch has one group


def perplexity_by_hand(
    data: Path, texts: Path, save_dir: Path, words: bool = False, split: str = "test"
) -> float:
    """Of a split, in one go; per word instead of token if `words`."""
    dictionary = Dictionary.load(str(data / "dict.txt"))
    text = (texts / split).read_text()
    tokens = [
        dictionary.index(word)
        for line in text.splitlines()
        for word in [*line.split(), dictionary.eos_word]
    ]
    saved = torch.load(save_dir / "checkpoint_last.pt", weights_only=True)
    task = type("Task", (), {"source_dictionary": dictionary, "target_dictionary": dictionary})
    options = type("Options", (), saved["cfg"]["model"])
    model = WsumLSTMLanguageModel.build_model(options, task).eval()
    model.load_state_dict(saved["model"])
    logits, _ = model(torch.tensor([[dictionary.eos(), *tokens[:-1]]]))
    total = torch.nn.functional.cross_entropy(logits[0], torch.tensor(tokens), reduction="sum")
    count = len(tokens) - (text.count("@@") if words else 0)
    return math.exp(total.item() / count)


@every_cells_options(usual=("window",))
def test_every_cell_trains_resumes_and_scores(cell, data, texts, tmp_path) -> None:
    train(data, tmp_path, "--max-update", UPDATES - 3, *cell)
    statistics = train(data, tmp_path, "--max-update", UPDATES + 2, *cell)
    assert len([line for line in statistics if "loss" in line and "update" in line]) == 5
    assert re.search(r"Perplexity: \d", evaluate(data, tmp_path, "--gen-subset", "test"))


def test_a_transformer_carries_its_state_resumes_and_scores(data, tmp_path) -> None:
    """Its perplexity does not depend on the parts in which it reads a text."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(data, whole, "--bf16", "--lr", 0.1, "--max-epoch", 1, model=TRANSFORMER)
    train(data, parts, "--bf16", "--lr", 0.1, "--max-update", 5, model=TRANSFORMER)
    train(data, parts, "--bf16", "--lr", 0.1, "--max-epoch", 1, model=TRANSFORMER)
    assert_same_weights(whole, parts)
    outputs = [evaluate(data, whole, "--tokens-per-sample-valid", size) for size in (7, 1000)]
    found = [re.findall(r"Perplexity: ([\d.]+)", output)[0] for output in outputs]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tokens-per-sample-valid", 1], False),
        (["--tokens-per-sample-valid", 13], False),
        (["--tokens-per-sample-valid", 40, "--post-process", "@@ "], True),
    ],
    ids=["one token", "tokens", "words of subwords"],
)
def test_eval_lm_scores_every_token_with_its_whole_past(options, words, data, texts, model) -> None:
    output = evaluate(data, model, *options)
    found = float(re.findall(r"Perplexity: ([\d.]+)", output)[0])
    assert found == pytest.approx(perplexity_by_hand(data, texts, model, words), abs=0.006)
    assert "Evaluated 90 tokens" in output


def test_a_stream_has_no_context_window(data, model) -> None:
    command = ["perplexity.sh", data, "--checkpoint", model / "checkpoint_last.pt", "--cpu"]
    output = run(*command, "--context-window", 5, check=False)
    assert "--context-window does not go with a stream of tokens" in output


def test_validate_gives_the_perplexity_of_eval_lm(data, texts, model) -> None:
    output = run(
        *("fairseq-validate", data, "--user-dir", USER_DIR, *TASK, "--cpu"),
        *("--path", model / "checkpoint_last.pt", "--batch-size", 3),
        *("--valid-subset", "test,train"),
    )
    test, train = (float(found) for found in re.findall(r"ppl ([\d.]+)", output))
    assert test == pytest.approx(perplexity_by_hand(data, texts, model), abs=0.006)
    assert train == pytest.approx(perplexity_by_hand(data, texts, model, split="train"), abs=0.006)


@pytest.mark.parametrize("trained", ["model", "transformer"], ids=["lstm", "transformer"])
def test_generate_and_interactive_continue_sentences(trained, data, texts, request) -> None:
    path = request.getfixturevalue(trained) / "checkpoint_last.pt"
    common = ["--user-dir", USER_DIR, *TASK, "--cpu", "--path", path]
    common += ["--beam", 2, "--max-len-b", 12]
    every = ("--required-batch-size-multiple", 1)
    sentences = ("--sample-break-mode", "eos", "--gen-subset", "test", "--prefix-size", 1)
    output = run("fairseq-generate", data, *common, *sentences, "--batch-size", 4, *every)
    lines = (texts / "test").read_text().splitlines()
    found = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M))
    assert len(found) == len(lines)
    for number, text in found.items():
        assert text.split()[:1] == lines[int(number)].split()[:1]  # </s> is an empty text
    output = run("fairseq-interactive", data, *common, stdin="w1 w4\nw2\n")
    found = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M))
    assert found["0"].startswith("w1 w4") and found["1"].startswith("w2")
    output = run("fairseq-generate", data, *common, "--gen-subset", "test", check=False)
    assert "fairseq-generate continues sentences: give --sample-break-mode eos" in output


@pytest.mark.parametrize(("begin", "tokens"), [([], 90), (["--add-bos-token"], 100)])
def test_sentences_are_samples_on_request_as_in_fairseqs_task(
    begin, tokens, data, tmp_path
) -> None:
    results = []
    for task in ("language_modeling", "wsum_language_modeling"):
        options = ["--task", task, "--sample-break-mode", "eos", *begin]
        *_, last = train(data, tmp_path / task, *options, "--cell", "no-srnn-out", "--max-epoch", 1)
        names = ("train_loss", "train_num_updates", "train_ppl")
        results.append([last[name] for name in names])
        output = evaluate(data, tmp_path / task, *options)
        results[-1] += re.findall(r"Evaluated (\d+) tokens|Perplexity: (\S+)", output)
        model = tmp_path / task / "checkpoint_last.pt"
        score = ["perplexity.sh", data, "--checkpoint", model, "--splits", "test", "--cpu"]
        output = run(*score, "--output-word-probs", "--output-word-stats")
        perplexity = results[-1][-1][1]
        assert f"test: perplexity {perplexity} ({tokens} tokens)" in output
        scores = [float(found) for found in re.findall(r" \[(-[\d.]+)\]", output)]
        assert len(scores) == 90 and output.count("\tFalse\t") > 0
        assert math.exp(-sum(scores) / 90) == pytest.approx(float(perplexity), abs=0.006)
    assert results[0] == results[1] and (str(tokens), "") in results[0]
    assert int(results[0][1]) != UPDATES


def test_each_shard_is_an_epoch_and_workers_change_nothing(texts, data, tmp_path) -> None:
    (tmp_path / "other").write_text("w1 w2 w3\n" * 80)
    shard = tmp_path / "shard"
    run(
        *("fairseq-preprocess", "--only-source", "--srcdict", data / "dict.txt"),
        *("--trainpref", tmp_path / "other", "--destdir", shard),
    )
    options = ["--max-epoch", 2, "--bf16", "--decoder-proj-size", 4, "--locked-dropout"]
    none = train(f"{data}:{shard}", tmp_path / "none", *options, "--num-workers", 0)
    two = train(f"{data}:{shard}", tmp_path / "two", *options, "--num-workers", 2)
    assert losses(none) == losses(two)
    assert len(losses(none)) == UPDATES + math.ceil(80 * 4 / 3 / 7)  # words and an end a line


def test_a_model_that_learns_nothing_has_the_loss_of_a_uniform_distribution(data, tmp_path) -> None:
    """With a step of one token at the end of an epoch, and --sentence-avg."""
    options = ["--init-range", 1e-4, "--lr", 0, "--max-epoch", 1, "--tokens-per-sample", 82]
    statistics = train(data, tmp_path, *options, "--tokens-per-sample-valid", 2)
    bits = math.log2(len(Dictionary.load(str(data / "dict.txt"))))
    assert float(statistics[-2]["valid_nll_loss"]) == pytest.approx(bits, abs=1e-3)
    assert float(statistics[-2]["valid_ppl"]) == pytest.approx(2**bits, abs=0.01)
    assert float(statistics[-1]["train_nll_loss"]) == pytest.approx(bits, abs=1e-3)


def test_the_hydra_example_trains(data, tmp_path) -> None:
    run(
        *("fairseq-hydra-train", "--config-dir", ROOT / "examples" / "language_model_ptb"),
        *("--config-name", "small", f"common.user_dir={USER_DIR}", f"task.data={data}"),
        *(f"checkpoint.save_dir={tmp_path}", f"hydra.run.dir={tmp_path}"),
        *("optimization.max_update=2", "common.cpu=true", "dataset.batch_size=3"),
        *("task.tokens_per_sample=7", "optimization.update_freq=[2]"),
    )
    saved = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert saved["cfg"]["model"]["cell"] == "no-srnn-hidden"
    assert sorted(saved["extra_state"]["train_iterator"]["stream_states"]) == [0, 1]
    assert "Evaluated 90 tokens" in evaluate(data, tmp_path)


def test_hydra_trains_a_transformer_with_an_adaptive_softmax(data, tmp_path) -> None:
    config = {
        "common": {"user_dir": str(USER_DIR), "cpu": True},
        "task": {"_name": "wsum_language_modeling", "data": str(data), "tokens_per_sample": 7},
        "model": {
            **{"_name": "wsum_transformer_lm", "cell": "sru", "adaptive_softmax_cutoff": "6"},
            **{"decoder_embed_dim": 8, "decoder_layers": 2, "decoder_attention_heads": 2},
        },
        "criterion": {"_name": "adaptive_loss", "ddp_backend": "legacy_ddp"},
        "optimizer": {"_name": "adam"},
        "lr_scheduler": {"_name": "fixed"},
        "optimization": {"lr": [0.01], "max_epoch": 1},
        "dataset": {"batch_size": 3},
        "checkpoint": {"save_dir": str(tmp_path)},
    }
    (tmp_path / "small.yaml").write_text(json.dumps(config))
    named = ("--config-dir", tmp_path, "--config-name", "small")
    run("fairseq-hydra-train", *named, f"hydra.run.dir={tmp_path}")
    saved = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert "decoder.adaptive_softmax.head.weight" in saved["model"]
    assert "Evaluated 90 tokens" in evaluate(data, tmp_path)


@pytest.mark.slow
def test_the_benchmark_compares_with_fairseqs_language_model(data) -> None:
    options = ["--cells", "no-srnn-hidden", "--rounds", 1, "--batch-size", 2, "--updates", 5]
    options += ["--tokens-per-sample", 6]  # of fairseq-train
    printed = run("python", ROOT / "benchmarks/programs.py", "lm", data, *options)
    rates = re.findall(r"^\| (\S.*?) \| ([\d.,]+) \| [\d.]+ \|$", printed, re.M)
    assert [name for name, _ in rates] == ["fairseq's own", "no-srnn-hidden"], printed
