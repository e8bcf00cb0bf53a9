"""The biaffine parser: its scores against loops in float64, and the best of all trees."""

import itertools
import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("fairseq")
pytest.importorskip("ufal.chu_liu_edmonds")
from fairseq.logging import metrics
from translation import dictionary_of
from treebanks import conllu

from fairseq_wsum.experiments.parse import attachment_scores
from fairseq_wsum.plugin.criterions.wsum_parsing_loss import WsumParsingLoss
from fairseq_wsum.plugin.data import sized
from fairseq_wsum.plugin.data.treebank import Sentence, read_treebank
from fairseq_wsum.plugin.models.dictionaries import fingerprint
from fairseq_wsum.plugin.models.wsum_biaffine_parser import (
    WsumBiaffineParser,
    WsumBiaffineParserConfig,
)
from fairseq_wsum.plugin.modules.biaffine import ArcScorer, RelationScorer
from fairseq_wsum.plugin.modules.byte_features import ByteFeatures, collate_bytes
from fairseq_wsum.plugin.modules.trees import best_tree, why_no_tree
from fairseq_wsum.plugin.tasks.wsum_dependency_parsing import (
    WsumDependencyParsingConfig,
    WsumDependencyParsingTask,
)

SIZES = dict(encoder_embed_dim=5, character_features=4, character_embedding_dim=3, tag_embed_dim=3)
SIZES |= dict(encoder_hidden_size=6, encoder_layers=2, arc_features=7, relation_features=5)


def make(treebank, cell="lstm", tags="upos", **options):
    """A task, its validation set, and a model in float64 with random scorers."""
    cfg = WsumDependencyParsingConfig(data=f"{treebank}/data", tags=tags)
    task = WsumDependencyParsingTask(cfg)
    task.load_dataset("valid")
    torch.manual_seed(1)
    config = WsumBiaffineParserConfig(cell=cell, **SIZES, **options)
    model = WsumBiaffineParser.build_model(config, task)
    for scorer in (model.arcs, model.relations):
        torch.nn.init.normal_(scorer.weight)
    return task, model.double().eval(), task.dataset("valid")


@torch.no_grad()
def test_arc_scores_are_those_of_the_equation() -> None:
    scorer = ArcScorer(4).double()
    weight = torch.nn.init.normal_(scorer.weight)
    u_matrix, u = weight[:4], weight[4]
    d, h = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 4).double()
    scores = scorer(d, h)
    for b, i, j in itertools.product(range(2), range(3), range(3)):
        expected = d[b, i] @ u_matrix @ h[b, j] + u @ h[b, j]
        assert scores[b, i, j] == pytest.approx(float(expected))


@torch.no_grad()
def test_relation_scores_are_those_of_the_equation() -> None:
    scorer = RelationScorer(4, 3).double()
    weight = torch.nn.init.normal_(scorer.weight).view(3, 5, 5)  # r, head, dependent
    d, h = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 4).double()
    places = torch.tensor([[0, 0, 1], [2, 1, 0]])
    scores = scorer(d, h, places)
    d, h = (F.pad(x, (0, 1), value=1) for x in (d, h))
    for b, i, r in itertools.product(range(2), range(3), range(3)):
        expected = h[b, places[b, i]] @ weight[r] @ d[b, i]
        assert scores[b, i, r] == pytest.approx(float(expected))


@torch.no_grad()
def test_features_of_bytes_are_those_of_the_equation() -> None:
    layer = ByteFeatures(embed_dim=3, features=2).double()
    (found,) = layer(collate_bytes([["abé", "x", ""]]))
    for word, features in zip(["abé", "x", ""], found, strict=True):
        e = layer.embed_bytes(torch.tensor([0, 0, *(b + 1 for b in word.encode()), 0, 0]))
        for w, bias, feature in zip(*layer.filters.parameters(), features, strict=True):
            sums = [(e[t : t + 5].t() * w).sum() + bias for t in range(len(e) - 4)]
            assert feature == pytest.approx(max([0.0, *map(float, sums)]))


def test_the_gradients_of_features_of_bytes_are_the_same_in_each_run() -> None:
    torch.set_num_threads(4)
    layer = ByteFeatures(embed_dim=8, features=50)
    bytes = collate_bytes([["Ab", "cd", "éf", "gh", "ij"] * 100] * 8)
    above = torch.randn(8, 500, 50)

    def gradient():
        layer.zero_grad()
        layer(bytes).backward(above)
        return layer.embed_bytes.weight.grad

    expected = gradient()
    assert all(torch.equal(gradient(), expected) for _ in range(5))


@pytest.mark.parametrize(("cell", "window"), [("lstm", None), ("qrnn", 2)])
@torch.no_grad()
def test_padding_and_the_order_of_a_batch_change_nothing(cell, window, treebank) -> None:
    _, model, dataset = make(treebank, cell, window=window)
    samples = [*dataset]

    def parsed(chosen):
        scores = model(**dataset.collater(chosen)["net_input"])
        lengths = [len(one.tokens) + 1 for _, one in chosen]
        pieces = zip(scores.arcs, *model.parse(scores), lengths, strict=True)
        return [(arcs[:n, :n], h[1:n], r[1:n]) for arcs, h, r, n in pieces]

    together = parsed(samples)
    backwards = parsed(samples[::-1])[::-1]
    for one, other, alone in zip(together, backwards, samples, strict=True):
        for found in (other, *parsed([alone])):
            assert torch.allclose(one[0], found[0], atol=1e-6)  # the scores are float32
            assert torch.equal(one[1], found[1]) and torch.equal(one[2], found[2])


@torch.no_grad()
def test_the_scores_of_a_sentence_are_those_of_the_equations(treebank) -> None:
    """With the features of bytes, the recurrent layers and the scorers as they are."""
    _, model, dataset = make(treebank)
    encoder = model.encoder
    for sample in dataset:
        batch = dataset.collater([sample])
        tokens, bytes, tags = (part[0] for part in batch["net_input"].values())
        embedded = (
            encoder.features.embed_tokens.weight[tokens],
            encoder.features.bytes(bytes[None])[0],
        )
        x = torch.cat((*embedded, encoder.embed_tags.weight[tags]), 1)
        y = encoder.lstm(x.unsqueeze(1))[0][:, 0]
        features = []
        for name in ("arc_dependents", "arc_heads", "relation_dependents", "relation_heads"):
            fc = getattr(model, name).fc
            torch.nn.init.normal_(fc.bias)
            z = y @ fc.weight.t() + fc.bias
            features.append(torch.where(z > 0, z, 0.1 * z).unsqueeze(0))
        scores = model(**batch["net_input"], heads=batch["heads"])
        expected = model.arcs(*features[:2]), model.relations(*features[2:], batch["heads"])
        for found, other in zip((scores.arcs, scores.relations), expected, strict=True):
            torch.testing.assert_close(found.double(), other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_loss_and_the_scores_of_a_batch(treebank, monkeypatch) -> None:
    """Of all words, one after the other."""
    monkeypatch.setattr(sized, "MAX_TOKENS", 1)  # of a batch of `task.parse`
    task, model, dataset = make(treebank)
    parsed = [Sentence([[*line] for line in one.lines]) for _, one in dataset]
    task.parse(model, parsed)
    loss, size, log = WsumParsingLoss(task)(model, dataset.collater([*dataset]))
    expected, right_heads, right, words = 0.0, 0, 0, 0
    for sample in dataset:
        one, sentence = dataset.collater([sample]), sample[1]
        scores = model(**one["net_input"])
        relations = model.relation_scores(scores, one["heads"])[0].log_softmax(-1)
        heads, found = model.parse(scores)
        given = map(task.relation_dictionary.index, sentence.column("deprel"))
        for k, (head, relation) in enumerate(zip(sentence.heads, given, strict=True), start=1):
            expected -= float(scores.arcs[0, k].log_softmax(-1)[head] + relations[k, relation])
            right_heads += int(heads[0, k] == head)
            right += int(heads[0, k] == head and found[0, k] == relation)
            words += 1
        own = parsed[sample[0]]
        assert own.heads == heads[0, 1:].tolist()
        assert own.column("deprel") == [task.relation_dictionary[k] for k in found[0, 1:]]
    assert size == log["ntokens"] == words
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert (log["uas"], log["las"]) == (right_heads, right)


def test_a_word_is_the_root_if_and_only_if_its_head_is_0(treebank) -> None:
    task, model, dataset = make(treebank)
    symbols, kinds = task.relation_dictionary, set()
    for sample in 2 * [*dataset]:
        with torch.no_grad():
            model.relations.weight.neg_()
            scores = model(**dataset.collater([sample])["net_input"])
            heads, found = (part[0, 1:].tolist() for part in model.parse(scores))
            relations = model.relation_scores(scores, torch.tensor([[0, *heads]]))[0, 1:]
        for head, relation, of_word in zip(heads, found, relations.tolist(), strict=True):
            best = max(range(symbols.nspecial, len(symbols)), key=of_word.__getitem__)
            assert (symbols[relation] == "root") == (head == 0)
            assert head == 0 or relation == best or symbols[best] == "root"
            kinds.add((head == 0, symbols[best] == "root"))
    assert len(kinds) == 4  # with either head, the best relation of some words is `root`


def test_words_that_look_like_symbols_are_unknown(treebank) -> None:
    task, model, _ = make(treebank, tags="none")
    sentences = [Sentence.of(["Ab", word, "cd", "gh"]) for word in ("<pad>", "<s>", "new")]
    task.parse(model, sentences)
    tokens = [task.sentence(one)["src_tokens"].tolist() for one in sentences]
    assert tokens[0] == tokens[1] == tokens[2] and tokens[0][0][2] == task.source_dictionary.unk()
    assert all(one.heads.count(0) == 1 for one in sentences)
    symbols = task.relation_dictionary.symbols[: task.relation_dictionary.nspecial]
    assert not {*symbols} & {name for one in sentences for name in one.column("deprel")}


def test_a_checkpoint_has_the_words_the_relations_and_the_tags(treebank) -> None:
    task, model, _ = make(treebank)
    known = dict(words=task.source_dictionary, relations=task.relation_dictionary)
    for name, dictionary in (known | dict(tags=task.tags[0])).items():
        assert torch.equal(model.encoder.state_dict()[name], fingerprint(dictionary).double())


def test_all_parameters_are_used_within_the_forward_pass(treebank, tmp_path) -> None:
    """Otherwise DDP with --find-unused-parameters fails."""
    task, model, dataset = make(treebank)
    address = f"file://{tmp_path}/address"
    torch.distributed.init_process_group("gloo", address, rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        WsumParsingLoss(task)(wrapped.train(), dataset.collater([dataset[0]]))[0].backward()
        del wrapped  # after the group, it would wait for a thread of gloo that may need the GIL
    finally:
        torch.distributed.destroy_process_group()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_dropout_applies_to_the_layers_and_to_the_features_for_the_scores(treebank) -> None:
    _, model, dataset = make(treebank, dropout=1.0)
    inputs = dataset.collater([dataset[0], dataset[1]])["net_input"]

    def outputs():
        y, _ = model.encoder(inputs["src_tokens"], inputs["src_bytes"], inputs["src_tags"])
        scores = model(**inputs)
        features = model.arc_heads(y + 1), model.arc_dependents(y + 1)
        return [bool(x.any()) for x in (y, *features, scores.dependents, scores.heads)]

    assert outputs() == [True] * 5
    model.train()
    assert outputs() == [False] * 5


def test_the_logged_scores_are_percentages_of_all_words() -> None:
    one = dict(loss=2.0, uas=3, las=1, sample_size=4)
    other = dict(loss=4.0, uas=1, las=1, sample_size=8)
    with metrics.aggregate() as logged:
        WsumParsingLoss.reduce_metrics([one, other])
    assert logged.get_smoothed_values() == {"loss": 0.5, "uas": 33.33, "las": 16.67}


def test_whole_embeddings_are_dropped_and_the_others_scaled(treebank) -> None:
    _, model, _ = make(treebank)
    encoder = model.train().encoder
    parts = [torch.ones(40, 50, size) for size in (2, 3, 4)]
    dropped = encoder._drop_whole(parts)
    kept = torch.stack([part[..., 0] for part in dropped])
    for part in dropped:
        assert torch.equal(part, part[..., :1].expand_as(part))  # whole ones
    number = (kept > 0).sum(0)
    assert torch.allclose(kept.sum(0), 3.0 * (number > 0))
    assert (kept > 0).float().mean() == pytest.approx(1 - encoder.dropout.p, abs=0.02)


def test_attachment_scores_are_those_of_conll_2018(tmp_path) -> None:
    """Subtypes do not count, punctuation does, and a right relation needs its head."""
    path = tmp_path / "parsed.conllu"
    path.write_text(
        conllu("a NOUN 2 nsubj:pass", "b VERB 0 root", "c NOUN 1 obj", ". PUNCT 2 punct")
        + conllu("d NOUN 0 root")
    )
    gold = [([2, 0, 2, 2], ["nsubj", "root", "obj", "obj"]), ([0], ["root:x"])]
    found = attachment_scores(gold, [*read_treebank(path, with_trees=True)])
    expected = {"LAS": 3 / 5, "UAS": 4 / 5}
    expected |= {"LAS without punctuation": 3 / 4, "UAS without punctuation": 3 / 4}
    assert found == pytest.approx({name: 100 * share for name, share in expected.items()})
    assert all(math.isfinite(score) for score in attachment_scores([], []).values())


def test_other_tags_and_a_column_without_tags_are_refused(treebank, tmp_path) -> None:
    with pytest.raises(ValueError, match="--tags pos: choose one of none, upos, xpos"):
        make(treebank, tags="pos")
    shutil.copytree(treebank / "data", tmp_path / "data")
    dictionary_of("_").save(str(tmp_path / "data/dict.xpos.txt"))
    with pytest.raises(ValueError, match="--tags xpos: this column of the treebank has no tags"):
        make(tmp_path, tags="xpos")


# Trees


def is_tree(heads: tuple[int, ...]) -> bool:
    """Whether all words reach the root, and one of them directly."""
    for word in range(1, len(heads) + 1):
        place = word
        for _ in heads:
            place = heads[place - 1] if place else 0
        if place:
            return False
    return heads.count(0) == 1


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("favoured", [0.0, 3.0], ids=["plain", "many-roots"])
def test_the_best_tree_is_the_best_of_all_trees(words, favoured) -> None:
    rng = np.random.default_rng(words)
    trees = [*filter(is_tree, itertools.product(range(words + 1), repeat=words))]
    for _ in range(20):
        scores = rng.normal(size=(words + 1, words + 1))
        scores[:, 0] += favoured  # greedy choices then have several roots
        total = lambda heads, s=scores: sum(s[k, head] for k, head in enumerate(heads, 1))  # noqa: E731
        assert total(best_tree(scores)) == pytest.approx(max(map(total, trees)))


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_scores_of_a_model_that_diverged_give_some_tree(score) -> None:
    assert is_tree(tuple(best_tree(np.full((5, 5), score))))


def test_what_is_a_tree() -> None:
    for heads in itertools.product(range(4), repeat=3):
        assert (why_no_tree(heads) is None) == is_tree(heads)
