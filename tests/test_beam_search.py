"""fairseq's beam search on candidates, against its search over the whole vocabulary."""

from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

pytest.importorskip("fairseq")
import transformer_models
from fairseq.sequence_generator import SequenceGenerator
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks import FairseqTask
from translation import EOS, PAD, TARGET, make_batch, make_generation, make_model

from fairseq_wsum.plugin.decoding.beam_search import VARIABLE, CandidateEnsemble

LENGTHS = (7, 3, 5, 1, 6, 4)
share = CandidateEnsemble.share_sources


def build(models, extra=None, **options):
    task = SimpleNamespace(target_dictionary=TARGET)
    args = Namespace(**{"max_len_b": 9, **options})
    return FairseqTask.build_generator(task, models, args, extra_gen_cls_kwargs=extra)


def make_sample(lengths=LENGTHS) -> dict[str, dict[str, Tensor]]:
    src, src_lengths, _ = make_batch(lengths)
    return {"net_input": {"src_tokens": src, "src_lengths": src_lengths}}


def search(model, sample, beam: int = 3, **options):
    """The hypotheses of each sentence."""
    return build([model], beam=beam, **options).generate([model], sample)


def both(monkeypatch, models, *, prefix: Tensor | None = None, lengths=LENGTHS, **options):
    """The hypotheses of fairseq's search, and of the one on candidates."""
    sample, found = make_sample(lengths), []
    for choice in ("fairseq", ""):
        monkeypatch.setenv(VARIABLE, choice)
        generator = build(models, **options)
        assert hasattr(generator.search, "_ensemble") == (choice == "")
        given = {} if prefix is None else {"prefix_tokens": prefix.clone()}
        with patch.object(
            CandidateEnsemble, "share_sources", autospec=True, side_effect=share
        ) as shared:
            found.append(generator.generate(models, sample, **given))
    beams = [call.args[1] for call in shared.call_args_list]
    assert beams == ([generator.beam_size, 1] if len(lengths) > 1 else [1])
    return found


def assert_same(hypotheses, *, attention: bool = True) -> None:
    for one, other in zip(*hypotheses, strict=True):
        assert [h["tokens"].tolist() for h in other] == [h["tokens"].tolist() for h in one]
        for a, b in zip(one, other, strict=True):
            for part in ("score", "positional_scores"):
                torch.testing.assert_close(b[part], a[part], check_dtype=False)
            if attention:
                assert torch.equal(a["attention"], b["attention"])
                assert str(a["alignment"]) == str(b["alignment"])


def models(name: str) -> list:
    lstm = make_model(init_range=1.0)
    return {
        "feeding": lambda: [lstm],
        "parallel": lambda: [make_model(init_range=1.0, decoder_input_feeding="False")],
        "mlp": lambda: [make_model(init_range=1.0, decoder_attention="mlp")],
        "no-attention": lambda: [make_model(init_range=1.0, decoder_attention="none")],
        "adaptive": lambda: [
            make_model(criterion="adaptive_loss", adaptive_softmax_cutoff="8,16", init_range=1.0)
        ],
        "transformer": lambda: [transformer_models.make_model()],
        "ensemble": lambda: [lstm, make_model(init_range=1.0, cell="no-srnn-hidden")],
        "mixed": lambda: [lstm, transformer_models.make_model()],
        "feeding, fp32": lambda: [lstm.float()],  # those before have no C++ kernels, in float64
        "transformer, fp32": lambda: [transformer_models.make_model().float()],
    }[name]()


NAMES = ("feeding", "parallel", "mlp", "no-attention", "adaptive", "transformer")
NAMES += ("ensemble", "mixed", "feeding, fp32", "transformer, fp32")
every_model = pytest.mark.parametrize("name", NAMES)


@every_model
@pytest.mark.parametrize("beam", [1, 5, 40])  # the last is larger than the vocabulary
def test_the_hypotheses_are_those_of_fairseqs_search(beam, name, monkeypatch) -> None:
    for lengths in (LENGTHS, (6,)):
        found = both(monkeypatch, models(name), beam=beam, lengths=lengths)
        assert_same(found, attention="fp32" not in name)  # which is rounded otherwise


OPTIONS = {
    "no length penalty": dict(lenpen=0.0),
    "length penalty": dict(lenpen=2.0),
    "unnormalized": dict(unnormalized=True),
    "fewer unknown words": dict(unkpen=3.0),
    "more unknown words": dict(unkpen=-5.0),
    "temperature": dict(temperature=0.5),
    "minimum length": dict(min_len=4),
    "maximum length": dict(max_len_b=3),
    "maximum by the source": dict(max_len_a=0.5, max_len_b=1),
    "hard alignment": dict(print_alignment="hard"),
    "soft alignment": dict(print_alignment="soft"),
}


@pytest.mark.parametrize("name", ["feeding", "transformer", "ensemble"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_acts_as_in_fairseq(options, name, monkeypatch) -> None:
    assert_same(both(monkeypatch, models(name), beam=4, **options))


@pytest.mark.parametrize("name", ["feeding", "adaptive", "transformer", "ensemble"])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_prefixes_of_different_lengths_are_kept(size, name, monkeypatch) -> None:
    prefix = torch.randint(3, len(TARGET), (len(LENGTHS), size))
    prefix[2, -1] = PAD
    prefix[4, size // 2 :] = PAD
    assert_same(both(monkeypatch, models(name), beam=4, prefix=prefix))
    prefix[1, size // 2] = EOS  # the whole translation is given
    prefix[1, size // 2 + 1 :] = PAD
    # of hypotheses that are equal, fairseq leaves open whose attention it returns
    assert_same(both(monkeypatch, models(name), beam=4, prefix=prefix), attention=False)


def test_a_prefix_longer_than_the_limit_is_cut_as_in_fairseq(monkeypatch) -> None:
    prefix = torch.randint(4, len(TARGET), (len(LENGTHS), 6))
    found = both(monkeypatch, models("feeding"), beam=3, prefix=prefix, max_len_b=3)
    assert_same(found, attention=False)
    assert {len(hypothesis["tokens"]) for each in found[1] for hypothesis in each} == {4}


def test_an_empty_translation_can_be_given() -> None:
    prefix = torch.randint(4, len(TARGET), (len(LENGTHS), 2))
    prefix[3] = torch.tensor([EOS, PAD])
    model = make_model()
    found = build([model], beam=3).generate([model], make_sample(), prefix_tokens=prefix)
    assert [one["tokens"].tolist() for one in found[3]] == [[EOS]]


def test_scores_that_are_not_finite_are_an_error() -> None:
    """Otherwise the translation would be missing from what fairseq-generate prints."""
    model, sample = make_model(), make_sample()
    generator = build([model], beam=3)
    generator.generate([model], sample, prefix_tokens=torch.full((len(LENGTHS), 1), EOS))
    torch.nn.init.constant_(model.decoder.fc_out.weight, torch.nan)
    with pytest.raises(AssertionError):  # also after a search with empty translations
        generator.generate([model], sample)


@every_model
@pytest.mark.parametrize("rest", [[4, 5], [1, 3, 4]], ids=str)
def test_the_sources_of_the_remaining_sentences_are_kept(rest, name, monkeypatch) -> None:
    """The other sentences end after two words."""
    prefix = torch.randint(4, len(TARGET), (len(LENGTHS), 3))
    prefix[:, 2] = EOS
    prefix[rest] = PAD
    assert_same(both(monkeypatch, models(name), beam=3, prefix=prefix), attention=False)


OTHERS = {
    "sampling": dict(sampling=True),
    "diverse groups": dict(diverse_beam_groups=2),
    "diverse siblings": dict(diversity_rate=0.5),
    "constraints": dict(constraints="ordered"),
    "blocked n-grams": dict(no_repeat_ngram_size=2),
    "source length": dict(match_source_len=True),
    "language model": dict(extra=dict(lm_model=torch.nn.Identity())),
    "suppressed words": dict(extra=dict(tokens_to_suppress=(TARGET[5],))),
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_other_searches_are_left_to_fairseq(options) -> None:
    assert type(build([make_model()], beam=4, **options)) is SequenceGenerator


def test_ngrams_are_blocked() -> None:
    model, sample = make_model(), make_sample()
    for size, repeats in ((0, True), (2, False)):
        found = search(model, sample, beam=4, no_repeat_ngram_size=size, min_len=8)
        texts = [one["tokens"].tolist() for hypotheses in found for one in hypotheses]
        pairs = [[*pairwise(text)] for text in texts]
        assert any(len({*each}) < len(each) for each in pairs) == repeats


def test_groups_of_a_diverse_search_depend_on_their_sentence_alone() -> None:
    src, lengths, _ = make_batch(LENGTHS)
    model, number = make_model(), torch.tensor([9, 3, 0, 7, 5, 1])  # of sentences in the data
    found = []
    for rows in ([*range(6)], *([k] for k in range(6))):
        inputs = {"src_tokens": src[rows], "src_lengths": lengths[rows]}
        sample = {"id": number[rows], "net_input": inputs}
        hypotheses = search(model, sample, beam=4, diverse_beam_groups=2)
        found.append([[one["tokens"].tolist() for one in each] for each in hypotheses])
    assert found[0] == [alone for (alone,) in found[1:]]


def test_generators_of_other_programs_are_left_alone() -> None:
    class Own(SequenceGenerator):
        pass

    task = SimpleNamespace(target_dictionary=TARGET)
    built = FairseqTask.build_generator(task, [make_model()], Namespace(beam=2), seq_gen_cls=Own)
    assert type(built) is Own
    assert type(build([make_model()], score_reference=True)) is SequenceScorer


def test_after_a_search_every_sentence_has_its_own_source_again() -> None:
    """Otherwise a training with --eval-bleu would attend to the sources of other sentences."""
    model = transformer_models.make_model().eval()
    src, lengths, previous = make_batch(LENGTHS)
    before = model(src, lengths, previous)[0]
    sample = {"net_input": {"src_tokens": src, "src_lengths": lengths}}
    search(model, sample)
    assert torch.equal(model(src, lengths, previous)[0], before)
    with pytest.raises(AssertionError):  # min_len > max_len
        search(model, sample, min_len=20)
    assert torch.equal(model(src, lengths, previous)[0], before)


def test_threads_can_share_a_model() -> None:
    model = transformer_models.make_model().eval()
    src, lengths, _ = make_batch(LENGTHS)
    parts = [{"src_tokens": src[:n], "src_lengths": lengths[:n]} for n in (1, 2, 3)]
    samples = [{"net_input": part} for part in parts] * 4
    expected = [search(model, sample) for sample in samples]
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(partial(search, model), samples)
        for one, other in zip(found, expected, strict=True):
            assert_same((other, one), attention=False)


def test_a_translation_is_the_same_with_a_copy_of_the_output_matrix(monkeypatch) -> None:
    monkeypatch.setattr("fairseq_wsum.products._choose", lambda name: False)
    sample = make_sample()
    for make in (make_model, transformer_models.make_model):
        model = make().float().eval()
        before = search(model, sample)
        model.prepare_for_inference_(make_generation())
        assert model.decoder._copy is not None
        assert_same((before, search(model, sample)), attention=False)


# 16 bits


@pytest.mark.parametrize(("path", "dtype"), [("model.pt", torch.bfloat16), (None, torch.float64)])
def test_bf16_is_an_option_of_the_command_not_of_the_checkpoint(path, dtype) -> None:
    """`from_pretrained` passes the options of the training, which has no path of a model."""
    model = make_model()
    cfg = make_generation()
    cfg.common, cfg.common_eval = Namespace(bf16=True), Namespace(path=path)
    model.prepare_for_inference_(cfg)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    for each in search(model, make_sample()):
        assert all(hypothesis["score"].isfinite() for hypothesis in each)
