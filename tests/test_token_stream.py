"""The corpus as one stream: every token once, in order, with its whole past before it."""

import multiprocessing
from argparse import Namespace

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

pytest.importorskip("fairseq")
from fairseq.data import Dictionary, ListDataset
from fairseq.data.iterators import EpochBatchIterator

from fairseq_wsum.plugin.data.stream_iterator import StreamIterator
from fairseq_wsum.plugin.data.stream_states import StreamStates
from fairseq_wsum.plugin.data.token_stream import TokenStream, scoring_batches, training_batches
from fairseq_wsum.plugin.tasks.wsum_language_modeling import (
    WsumLanguageModelingConfig,
    WsumLanguageModelingTask,
)

PAD, EOS, UNK = 1, 2, 3
SYMBOLS = dict(eos=EOS, pad=PAD, unk=UNK)


def make_stream(*lengths: int) -> tuple[TokenStream, torch.Tensor]:
    """Sentences of these lengths, of tokens that are all different, and all tokens in order."""
    tokens = torch.arange(10, 10 + sum(lengths))
    sentences = ListDataset(tokens.int().split(lengths), np.array(lengths))
    return TokenStream(sentences, **SYMBOLS), tokens


LENGTHS = (3, 1, 7, 2, 2, 11, 1, 1, 5, 4)  # 37 tokens


def test_any_part_of_the_stream_can_be_read() -> None:
    stream, tokens = make_stream(*LENGTHS)
    assert len(stream) == len(tokens) == 37
    with_first = torch.cat((torch.tensor([EOS]), tokens))
    for start in range(-1, 38):
        for stop in range(start, 38):
            expected = with_first[start + 1 : stop + 1]
            assert torch.equal(stream.read(start, stop), expected), (start, stop)


def test_a_padding_symbol_in_the_text_becomes_unknown() -> None:
    """Otherwise the loss would ignore it."""
    sentences = ListDataset(torch.tensor([[7, PAD, EOS], [PAD, 8, EOS]]), np.array([3, 3]))
    stream = TokenStream(sentences, **SYMBOLS)
    assert stream.read(-1, 6).tolist() == [EOS, 7, UNK, EOS, UNK, 8, EOS]
    assert sentences[0].tolist() == [7, PAD, EOS]  # the data stay as they are
    (batch,) = scoring_batches(stream, tokens=10, process=0)
    assert batch["ntokens"] == 6


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("streams", "steps"), [(1, 1), (1, 5), (2, 3), (3, 4), (2, 100)])
def test_training_reads_every_token_once_after_the_one_before_it(
    streams, steps, groups, processes
) -> None:
    stream, tokens = make_stream(*LENGTHS)
    sizes = dict(streams=streams, steps=steps, groups=groups, processes=processes)
    parts = [[] for _ in range(streams * groups * processes)]  # of each stream, its batches: 2 x T
    for process in range(processes):
        batches = training_batches(stream, process=process, **sizes)
        for k, batch in enumerate(batches[n] for n in range(len(batches))):
            assert batch["step"] == k // groups
            assert batch["group"] == process * groups + k % groups
            assert batch["nsentences"] == streams
            source, target = batch["net_input"]["src_tokens"], batch["target"]
            assert source.shape == target.shape and source.shape[1] <= steps
            assert batch["ntokens"] == target.ne(PAD).sum()
            assert batch["id"].tolist() == list(range(k * streams, (k + 1) * streams))
            for row, pair in enumerate(torch.stack((source, target), 1), batch["group"] * streams):
                parts[row].append(pair[:, : int(pair[1].ne(PAD).sum())])
    whole = [torch.cat(part, 1) for part in parts]
    sources, targets = torch.cat(whole, 1)
    assert torch.equal(targets, tokens)
    assert torch.equal(sources, torch.cat((torch.tensor([EOS]), tokens[:-1])))
    lengths = [part.size(1) for part in whole]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 12, 37, 1000])
def test_scoring_reads_one_stream_split_at_sentence_ends(limit) -> None:
    stream, tokens = make_stream(*LENGTHS)
    batches = scoring_batches(stream, tokens=limit, process=0)
    parts = [batches[k] for k in range(len(batches))]
    targets = torch.cat([part["target"][0] for part in parts])
    sources = torch.cat([part["net_input"]["src_tokens"][0] for part in parts])
    assert torch.equal(targets, tokens)
    assert torch.equal(sources, torch.cat((torch.tensor([EOS]), tokens[:-1])))
    assert [part["step"] for part in parts] == list(range(len(parts)))
    ends = set(np.cumsum(LENGTHS).tolist())
    done = 0
    for part in parts:
        size = part["target"].numel()
        assert size <= limit
        done += size
        # where a part ends within a sentence, no sentence ended in it
        assert done in ends or not ends & set(range(done - size + 1, done + 1))


def test_other_processes_have_nothing_to_score() -> None:
    stream, _ = make_stream(*LENGTHS)
    first, second = (scoring_batches(stream, tokens=9, process=k) for k in (0, 1))
    assert len(first) == len(second)
    assert all(second[k]["target"].eq(PAD).all() for k in range(len(second)))
    assert all(second[k]["ntokens"] == 0 for k in range(len(second)))


# The iterator


def make_iterator(groups: int = 1, streams: int = 2, steps: int = 4, **options) -> StreamIterator:
    stream, _ = make_stream(*LENGTHS)
    batches = training_batches(
        stream, streams=streams, steps=steps, groups=groups, process=0, processes=1
    )
    layout = {"streams": streams * groups, "steps": steps}
    return StreamIterator(batches, StreamStates(), layout, **options)


def test_batches_come_in_order_in_every_epoch() -> None:
    iterator = make_iterator(groups=2)
    for epoch in (1, 2):
        samples = list(iterator.next_epoch_itr(shuffle=True))
        assert [(s["step"], s["group"]) for s in samples] == [
            (step, group) for step in range(3) for group in range(2)
        ]
        assert iterator.epoch == epoch


def test_an_iterator_continues_from_the_position_and_states_of_another() -> None:
    first = make_iterator(groups=2)
    samples = first.next_epoch_itr()
    for _ in range(4):
        sample = next(samples)
        run(first.states, sample["group"], sample["step"])
    saved = first.state_dict()
    # now one of two processes, which has half of the groups
    second = make_iterator(groups=1, streams=4)
    second.layout = first.layout
    second.load_state_dict({**saved, "shuffle": True})
    assert [s["step"] for s in second.next_epoch_itr()] == [2]
    assert run(second.states, 0, 2) == run(second.states, 1, 2) == 2


def test_a_checkpoint_at_the_end_of_an_epoch_has_no_states() -> None:
    iterator = make_iterator()
    for sample in iterator.next_epoch_itr():
        run(iterator.states, sample["group"], sample["step"])
    state = iterator.state_dict()
    assert (state["epoch"], state["iterations_in_epoch"]) == (2, 0)
    assert "stream_states" not in state
    make_iterator(steps=7).load_state_dict(state)  # a new epoch may be of another layout


def test_a_position_in_streams_is_none_in_sentences(caplog) -> None:
    streams = make_iterator()
    next(streams.next_epoch_itr())
    batches = [[0, 1], [2], [3, 4]]
    sentences = EpochBatchIterator(Subset(range(5), range(5)), list, batches)
    sentences.load_state_dict(streams.state_dict())
    assert "The epoch begins again: some batches are trained a second time" in caplog.text
    assert list(sentences.next_epoch_itr(shuffle=False)) == batches


def iterator_of_the_task(
    streams: int = 2, steps: int = 4, update_freq=(1, 3), tokens: int = 37, processes: int = 1
) -> StreamIterator:
    """What `wsum_language_modeling` gives to fairseq's trainer in the first of some processes."""
    args = Namespace(tokens_per_sample=steps, update_freq=update_freq)
    stream, _ = make_stream(*[1] * tokens)
    return WsumLanguageModelingTask(args, Dictionary()).get_batch_iterator(
        stream, max_sentences=streams, num_shards=processes, update_epoch_batch_itr=True
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (dict(streams=3), "--batch-size was 2 and is 3 now."),
        (dict(steps=3), "--tokens-per-sample was 4 and is 3 now."),
        (dict(processes=2), "the number of batches in an update was 1 and is 2 now."),
        (dict(tokens=38), "the number of training tokens was 37 and is 38 now."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_task_rejects_other_streams_within_an_epoch(changed, named) -> None:
    iterator = iterator_of_the_task()
    next(iterator.next_epoch_itr())
    saved = iterator.state_dict()
    iterator_of_the_task(update_freq=(1,)).load_state_dict(saved)  # the same in this epoch
    with pytest.raises(ValueError, match=f"cannot resume there: {named} Give the same"):
        iterator_of_the_task(**changed).load_state_dict(saved)


@pytest.mark.parametrize("scoring", ["validation", "eval-lm"])
def test_the_process_that_reads_batches_ends_with_them(scoring) -> None:
    """Otherwise Python's garbage collector ends it, which takes five seconds."""
    stream, tokens = make_stream(3, 4, 2)
    task = WsumLanguageModelingTask(Namespace(tokens_per_sample_valid=4), Dictionary())
    loading = dict(num_workers=1, data_buffer_size=2)
    if scoring == "validation":
        batches = task.get_batch_iterator(stream, **loading).next_epoch_itr(shuffle=False)
    else:
        batches = task.eval_lm_dataloader(stream, **loading)
    assert torch.cat([batch["target"][0] for batch in batches]).tolist() == tokens.tolist()
    for process in multiprocessing.active_children():
        process.join(20)
        assert not process.is_alive()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(tokens_per_sample=0), "--tokens-per-sample 0: give at least 1"),
        (dict(add_bos_token=True), "--add-bos-token does not go with a stream"),
        (dict(output_dictionary_size=9), "--output-dictionary-size does not go with a stream"),
        (dict(shorten_method="random_crop"), "--shorten-method does not go with a stream"),
    ],
)
def test_options_without_a_meaning_in_a_stream_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        WsumLanguageModelingTask.setup_task(WsumLanguageModelingConfig(data="none", **options))


@pytest.mark.parametrize(
    ("streams", "message"),
    [(50, "37 tokens, which are too few for 50 streams"), (None, "needs --batch-size: the number")],
)
def test_a_number_of_streams_that_cannot_be_is_named(streams, message) -> None:
    with pytest.raises(ValueError, match=message):
        iterator_of_the_task(streams, steps=1)


# States

MODEL = torch.nn.Linear(1, 1)


def run(states: StreamStates, group: int, step: int, rows: int = 2) -> float | None:
    """A model whose state counts the steps and that records its initial states."""
    sample = {"group": group, "step": step, "target": torch.zeros(rows, 3), "net_input": {}}
    with states.carried(sample) as sample:
        carried = sample["net_input"]["carried_state"]
        start = carried.take(MODEL)
        value = 0.0 if start is None else float(start[0].flatten()[0])
        h = torch.full((1, rows, 1), value + 1)
        carried.leave(MODEL, (h, h))
    return None if start is None else value


def test_a_step_starts_from_the_state_after_the_one_before() -> None:
    states = StreamStates()
    assert [run(states, 0, step) for step in range(4)] == [None, 1, 2, 3]
    assert [run(states, 1, step) for step in range(2)] == [None, 1]  # another group
    assert run(states, 0, 4) == 4
    assert run(states, 0, 0) is None  # a new epoch


def test_a_repeated_step_starts_from_the_same_state() -> None:
    states = StreamStates()
    for step in range(3):
        run(states, 0, step)
    assert run(states, 0, 2) == 2
    assert run(states, 0, 3) == 3


@pytest.mark.parametrize(("step", "rows"), [(4, 2), (3, 5)], ids=["other-step", "other-streams"])
def test_a_state_of_other_streams_is_not_restored(step, rows, caplog) -> None:
    states = StreamStates()
    for k in range(3):
        run(states, 0, k)
    assert run(states, 0, step, rows) is None
    assert "starts from a state of zero" in caplog.text


def test_no_process_sends_the_loaded_states_of_another(monkeypatch) -> None:
    saved = StreamStates()
    for group in (0, 1):
        run(saved, group, step=0)
    first, second = StreamStates(), StreamStates()
    for group, states in enumerate((first, second)):
        states.load_state_dict(saved.state_dict())
        run(states, group, step=1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: 2)

    def all_gather_object(gathered, own, group) -> None:
        assert list(own) == [0]
        gathered[:] = [own, {1: second.state_dict()[1]}]

    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)
    first.gather(None)
    assert [run(first, group, step=2) for group in (0, 1)] == [2.0, 2.0]
