"""How a training handles checkpoints that a kill or a full disk has damaged."""

import errno
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

pytest.importorskip("fairseq")
from commands import assert_same_weights, run, train
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from fairseq.models import MODEL_DATACLASS_REGISTRY
from omegaconf import OmegaConf
from shell import SCRIPTS, environment, succeeds
from translation_corpus import TINY

import fairseq_wsum.plugin  # noqa: F401  # applies the shims
from fairseq_wsum.checkpoint_files import damage, newest, read
from fairseq_wsum.experiments.checkpoints import average, restore_last
from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.plugin.compat import checkpoints

EPOCHS = 3
OPTIONS = [*TINY.split(), "--dropout", "0.3"]


def flipped(raw: bytes) -> bytes:
    """Flip one bit of the weights, which torch.load does not detect."""
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


DAMAGES = {
    "empty": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "end-missing": lambda raw: raw[:-10],
    "garbage": lambda raw: random.Random(0).randbytes(len(raw)),
    "text": lambda raw: b"No space left on device\n",
    "flipped": flipped,
}


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    train(prepared, folder, *OPTIONS, "--max-epoch", EPOCHS)
    return folder


def training(data: Path, folder: Path) -> list:
    return ["train.sh", data, "--save-dir", folder, "--gpus", 0, *OPTIONS]


@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES)
def test_damage_and_the_newest_intact_checkpoint_are_found(damaged, whole, tmp_path) -> None:
    for name in ("checkpoint1.pt", "checkpoint2.pt", "checkpoint_last.pt"):
        shutil.copy(whole / name, tmp_path)
    last = tmp_path / "checkpoint_last.pt"
    assert damage(last) is None
    raw = last.read_bytes()
    last.write_bytes(damaged(raw))
    assert damage(last)
    assert newest(tmp_path) == (tmp_path / "checkpoint2.pt", 4)
    (tmp_path / "checkpoint2.pt").write_bytes(damaged(raw))
    assert newest(tmp_path) == (tmp_path / "checkpoint1.pt", 2)
    average = read(tmp_path / "checkpoint1.pt") | {"last_optimizer_state": None}
    torch.save(average, tmp_path / "checkpoint1.pt")
    assert newest(tmp_path) is None


def test_a_file_that_cannot_be_opened_is_not_damaged(tmp_path, monkeypatch) -> None:
    """It may be intact, and newer than all others."""
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(b"kept")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr(Path, "open", refuse)
        damage(last)


def test_a_checkpoint_in_the_format_of_older_versions_is_intact(whole, tmp_path) -> None:
    """Of torch before 1.6, which cannot be left on disk until it is used."""
    path = tmp_path / "checkpoint1.pt"
    torch.save(read(whole / "checkpoint1.pt"), path, _use_new_zipfile_serialization=False)
    assert damage(path) is None
    assert newest(tmp_path) == (path, 2)


def test_a_training_names_the_damage_and_the_cure(prepared, whole, tmp_path) -> None:
    for name in ("checkpoint1.pt", "checkpoint2.pt"):
        shutil.copy(whole / name, tmp_path)
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(b"")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.pt")}
    output = run(*training(prepared, tmp_path), "--max-epoch", EPOCHS, check=False)
    assert f"{last} is damaged: it is empty. Move it away" in output
    assert {path: path.read_bytes() for path in tmp_path.glob("*.pt")} == before


def test_a_missing_file_to_restore_does_not_start_a_new_training(prepared, whole, tmp_path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.pt")}
    mistyped = tmp_path / "run/checkpont1.pt"
    command = [*training(prepared, tmp_path / "run"), "--max-epoch", EPOCHS + 1]
    output = run(*command, "--restore-file", mistyped, check=False)
    assert f"--restore-file {mistyped}: no such file, so training would start anew" in output
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*.pt")} == before
    new = tmp_path / "new"  # the usual file may be named before the first start
    succeeds(
        *training(prepared, new), "--max-epoch", 1, "--restore-file", new / "checkpoint_last.pt"
    )


def test_a_training_does_not_start_from_a_wrong_model(prepared, whole, tmp_path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.pt")}
    command = [*training(prepared, tmp_path / "run"), "--max-epoch", EPOCHS + 1]
    last = tmp_path / "run/checkpoint_last.pt"
    start = f"{last} is a checkpoint of another model: give a new --save-dir, or give the options "
    output = run(*command, "--cell", "no-out", "--optimizer", "sgd", "--bf16", check=False)
    theirs = "--cell lstm, --optimizer adam, no --bf16"
    assert f"{start}of that model: {theirs}" in output.splitlines()[-1]
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*.pt")} == before
    base = tmp_path / "base.pt"
    base.write_bytes(flipped(last.read_bytes()))
    begin = ["--finetune-from-model", base]
    output = run(*training(prepared, tmp_path / "new"), *begin, check=False)
    assert f"--finetune-from-model {base} cannot be used: the checksum of" in output


OTHER_MODELS = [
    ("wsum_lstm", {"cell": "qrnn", "window": 2, "residuals": True}, "--cell lstm, no --resid"),
    ("wsum_lstm", {"_name": "lstm"}, "--arch wsum_lstm"),
    ("wsum_lstm", {"cell": "no-out", "coupled_gates": True}, "--cell lstm, no --coupled-gates"),
    ("wsum_transformer", {"token_positional_embeddings": True}, "no --token-positional-embed"),
    ("wsum_transformer", {"share_all_embeddings": True}, "no --share-all-embeddings"),
    ("wsum_transformer", {"decoder_attention_heads": 4}, "--decoder-attention-heads 8"),
    ("wsum_transformer", {"preset": "wsum_transformer_multi30k", "dropout": 0.3}, None),
    ("wsum_transformer_lm", {"decoder_normalize_before": True}, "no --decoder-normalize-befo"),
    ("wsum_transformer_lm", {"_name": "wsum_lstm_lm"}, "--arch wsum_transformer_lm"),
    ("wsum_classifier", {"pooling": "max"}, "--pooling last"),
    ("wsum_transformer", {"activation_fn": "gelu"}, "--activation-fn relu"),
    ("wsum_transformer", {"encoder_attention_heads": 4}, "--encoder-attention-heads 8"),
    ("wsum_transformer", {"no_scale_embedding": True}, "no --no-scale-embedding"),
    ("wsum_transformer", {"merge_src_tgt_embed": True}, "no --merge-src-tgt-embed"),
    ("wsum_transformer", {"encoder_cell": "mingru"}, "no --encoder-cell"),
    ("wsum_transformer", {"decoder_cell": "mingru"}, "no --decoder-cell"),
]


START = "{}/checkpoint_last.pt"


@pytest.mark.parametrize(
    ("arch", "other", "named", "start"),
    [
        *((*row, {"save_dir": "{}"}) for row in OTHER_MODELS),
        (*OTHER_MODELS[0], {"save_dir": "{}", "restore_file": START}),
        (*OTHER_MODELS[0], {"continue_once": START}),
        # residuals may be new in a model that begins with the weights of another, its cell may not
        (*OTHER_MODELS[0][:2], "--cell lstm, no --window", {"finetune_from_model": START}),
    ],
)
def test_options_without_weights_of_their_own_are_compared(
    arch, other, named, start, tmp_path
) -> None:
    defaults = OmegaConf.structured(MODEL_DATACLASS_REGISTRY[arch])
    options = OmegaConf.to_container(defaults, enum_to_str=True).items()
    own = {name: value for name, value in options if not str(value).startswith("${")}
    saved = {**own, "_name": arch}  # without the values that the model takes from other options
    state = {"model": {}, "cfg": {"model": saved}, "last_optimizer_state": {}}
    torch.save(state, tmp_path / "checkpoint_last.pt")
    model = OmegaConf.create({**saved, **other})
    loads = Mock(side_effect=InterruptedError)
    trainer = Mock(checkpoint_suffix="", data_parallel_rank=0, load_checkpoint=loads)
    trainer.cfg.model = model
    expected = pytest.raises(InterruptedError)
    if named is not None:
        expected = pytest.raises(ValueError, match=f"of that model: {named}")
    given = {name: value.format(tmp_path) for name, value in start.items()}
    config = CheckpointConfig(**{"save_dir": str(tmp_path / "new"), **given})
    with expected:
        checkpoint_utils.load_checkpoint(config, trainer)
    assert loads.called == (named is None)


def test_a_training_without_a_state_of_its_optimiser_does_not_go_on(tmp_path) -> None:
    """fairseq would begin its schedule again without a message."""
    torch.save({"model": {}, "last_optimizer_state": None}, tmp_path / "checkpoint_last.pt")
    trainer = Mock(checkpoint_suffix="", data_parallel_rank=0)
    with pytest.raises(ValueError, match="has no state of the optimiser, as with --no-save-opt"):
        checkpoint_utils.load_checkpoint(CheckpointConfig(save_dir=str(tmp_path)), trainer)
    trainer.load_checkpoint.side_effect = InterruptedError
    with pytest.raises(InterruptedError):  # what the message recommends
        config = CheckpointConfig(save_dir=str(tmp_path), reset_optimizer=True)
        checkpoint_utils.load_checkpoint(config, trainer)


def test_a_training_without_its_last_checkpoint_does_not_start_again(
    prepared, whole, tmp_path
) -> None:
    link = tmp_path / "lr [1e-3]"  # not a pattern
    (tmp_path / "scratch").mkdir()
    link.symlink_to("scratch")
    tmp_path = link
    shutil.copy(whole / "checkpoint1.pt", tmp_path)
    before = (tmp_path / "checkpoint1.pt").read_bytes()
    log = succeeds(*training(prepared, tmp_path), "--max-epoch", EPOCHS)
    assert "checkpoint_last.pt is missing: continuing from checkpoint1.pt (2 updates)" in log
    assert (tmp_path / "checkpoint1.pt").read_bytes() == before
    assert_same_weights(tmp_path, whole)

    # the copy of an earlier start
    shutil.copy(whole / "checkpoint1.pt", tmp_path / "checkpoint_last.pt")
    restore_last(tmp_path, is_kept=False)
    assert_same_weights(tmp_path, whole)


def test_a_copy_is_complete_or_absent(tmp_path, monkeypatch) -> None:
    source, target = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    source.write_bytes(b"new" * 1000)
    target.write_bytes(b"old")

    def full_disk(src: str, dst: str) -> None:
        Path(dst).write_bytes(Path(src).read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(shutil, "copyfile", full_disk)
        PathManager.copy(str(source), str(target), overwrite=True)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, target.name]
    assert PathManager.copy(str(source), str(target), overwrite=True)
    assert target.read_bytes() == source.read_bytes()


def test_a_write_that_failed_begins_anew(tmp_path, monkeypatch) -> None:
    tries, save, waits = [], torch.save, []

    def full_for_a_moment(obj, file) -> None:
        tries.append(obj)
        if len(tries) < 3:
            file.write(b"a part")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(obj, file)

    monkeypatch.setattr(torch, "save", full_for_a_moment)
    monkeypatch.setattr(checkpoints.time, "sleep", waits.append)
    checkpoint_utils.torch_persistent_save({"model": {}}, str(tmp_path / "checkpoint1.pt"))
    assert damage(tmp_path / "checkpoint1.pt") is None and len(tries) == 3 and len(waits) == 2


def test_a_training_survives_a_full_disk(prepared, whole, tmp_path) -> None:
    """Here: a limit to the size of a file."""
    train(prepared, tmp_path, *OPTIONS, "--max-epoch", 1)
    limit = (tmp_path / "checkpoint1.pt").stat().st_size // 2
    script, *options = map(str, training(prepared, tmp_path))
    # fairseq sleeps between its three attempts
    (own := tmp_path / "own").mkdir()
    (own / "sitecustomize.py").write_text("import time\ntime.sleep = lambda seconds: None\n")
    done = subprocess.run(
        [SCRIPTS / script, *options, "--max-epoch", str(EPOCHS)],
        env=environment(VENV=sys.prefix, PYTHONPATH=str(own)),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode != 0 and "File too large" in done.stderr + done.stdout
    assert {path.name for path in tmp_path.glob("*.pt*")} == {
        *("checkpoint1.pt", "checkpoint_best.pt", "checkpoint_last.pt")
    }
    train(prepared, tmp_path, *OPTIONS, "--max-epoch", EPOCHS)
    assert_same_weights(tmp_path, whole)


def test_damaged_or_different_checkpoints_are_not_averaged(whole, tmp_path) -> None:
    one, other = (tmp_path / f"checkpoint{k}.pt" for k in (1, 2))
    one.write_bytes(flipped((whole / one.name).read_bytes()))
    with pytest.raises(UserError, match=r"checkpoint1\.pt is damaged: the checksum of"):
        average([one])
    torch.save({"model": {"w": torch.ones(2)}}, one)
    for weights in ({"v": torch.ones(2)}, {"w": torch.ones(3)}):
        torch.save({"model": weights}, other)
        with pytest.raises(
            UserError, match=r"checkpoint1\.pt are different models; they cannot be"
        ):
            average([one, other])
