"""The trainings of recipes against what they repeat; the tables of results against their runs."""

from types import SimpleNamespace

import pytest

pytest.importorskip("fairseq")
from commands import ROOT, training_options
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
from shell import succeeds

from fairseq_wsum.experiments.recipes import RECIPES
from fairseq_wsum.experiments.studies.plan import read_plan
from fairseq_wsum.experiments.studies.report import markdown
from fairseq_wsum.experiments.studies.runs_file import read_runs
from fairseq_wsum.experiments.studies.table import Table

# OpenNMT: Levy et al. (2018) trained the example model of OpenNMT-py. These are its settings of
# early 2018, which halve the rate after each epoch from the eighth on: the ninth is the first with
# a lower one. PTB: Zaremba et al. (2014), in the words of TensorFlow's tutorial. AWD: Merity et al.
# (2018). GBW: Jozefowicz et al. (2016); Levy et al. (2018) trained for five epochs, of 99 files.
# Tiny: Wu et al. (2021), whose updates have 8,192 tokens.
OPENNMT = "--optimizer sgd --lr 1.0 --clip-norm 5 --sentence-avg --batch-size 64 --max-epoch 13"
OPENNMT += " --lr-scheduler fixed --force-anneal 9 --lr-shrink 0.5"
PTB = "--batch-size 20 --optimizer sgd --lr 1.0 --seed 3 --sentence-avg --lr-scheduler fixed"
AWD = "--decoder-layer-dropout {} --decoder-dropout-out 0.4 --embedding-dropout 0.1"
AWD += " --locked-dropout --share-decoder-input-output-embed --activation-regularization 2"
AWD += " --temporal-activation-regularization 1 --force-anneal 7"
GBW = "--optimizer adagrad --lr 0.2 --lr-scheduler fixed --clip-norm 1 --tokens-per-sample 20"
GBW += " --batch-size 128 --arch wsum_lstm_lm_gbw --sentence-avg"
TINY = "--lr 0.005 --lr-scheduler inverse_sqrt --warmup-updates 2000 --max-update 8000"
TINY += " --patience 10 --keep-last-epochs 10 --max-tokens 4096 --update-freq 2"
TINY += " --label-smoothing 0.1"
# Parser: Dozat and Manning (2017). SQuAD: AllenNLP's BiDAF.
DOZAT = "--optimizer adam --adam-betas (0.9, 0.9) --clip-norm 5 --lr-scheduler polynomial_decay"
BEST = "--maximize-best-checkpoint-metric --best-checkpoint-metric"
PUBLISHED = {
    "opennmt --cell no-srnn": OPENNMT,
    "opennmt --fairseq-lstm": OPENNMT,
    "transformer_tiny": TINY,
    "transformer_tiny --fairseq-transformer": f"{TINY} --arch transformer --dropout 0.3",
    "ptb --size small --seed 3": f"{PTB} --max-epoch 13 --tokens-per-sample 20 --clip-norm 5 "
    "--force-anneal 5 --lr-shrink 0.5 --arch wsum_lstm_lm_ptb_small",
    "ptb --size medium --seed 3": f"{PTB} --max-epoch 39 --tokens-per-sample 35 --clip-norm 5 "
    "--force-anneal 7 --lr-shrink 0.8 --arch wsum_lstm_lm_ptb_medium",
    "ptb --size large --seed 3": f"{PTB} --max-epoch 55 --tokens-per-sample 35 --clip-norm 10 "
    "--force-anneal 15 --lr-shrink 0.8695652 --arch wsum_lstm_lm_ptb_large",
    "awd --corpus ptb --cell lstm --epochs 10": f"{AWD.format(0.25)} --batch-size 20 "
    "--decoder-dropout-in 0.4 --weight-dropout 0.5",
    "awd --corpus wikitext2 --epochs 10": f"{AWD.format(0.2)} --batch-size 40 "
    "--decoder-dropout-in 0.65",
    "gbw": f"{GBW} --max-epoch {5 * 99}",
    "gbw --shards 3": f"{GBW} --max-epoch {5 * 3}",
    "parser": f"{DOZAT} --adam-eps 1e-12 --lr 0.002 {BEST} las",
    "squad": f"{DOZAT} --lr 0.001 --batch-size 40 --max-epoch 12 {BEST} f1",
    "sst": f"{BEST} accuracy",
}
# And of the models: `strong` here, and those of Dozat and Manning and of Seo et al.
MODELS = {
    "strong": dict(encoder_bidirectional=True, encoder_layers=1, decoder_layers=1, dropout=0.45),
    "strong --fairseq-lstm": dict(arch="lstm", encoder_bidirectional=True, encoder_layers=1)
    | dict(encoder_embed_dim=384, encoder_hidden_size=384, decoder_hidden_size=384)
    | dict(decoder_out_embed_dim=384, encoder_dropout_out=0.45, decoder_dropout_in=0.45),
    "transformer": dict(dropout=0.3, attention_dropout=0, activation_dropout=0),
    "transformer --dropout 0.1": dict(dropout=0.1),
    "transformer --fairseq-transformer": dict(dropout=0.3, attention_dropout=0),
    "transformer_tiny": dict(dropout=0.3),
    "transformer_tiny --fairseq-transformer": dict(dropout=0.3),
    "parser": dict(dropout=0.33, encoder_layers=3, encoder_hidden_size=400, encoder_embed_dim=100)
    | dict(arc_features=500, relation_features=100),
    "squad": dict(dropout=0.2, modelling_layers=2, encoder_hidden_size=100, encoder_embed_dim=100)
    | dict(character_features=100, character_embedding_dim=16),
}


def command(recipe: str) -> list[str]:
    """The options of the training of a recipe, on data that does not exist."""
    name, *options = recipe.split()
    made = RECIPES[name](name, [*options, "--out", "/none", "--dry-run"])
    words = [word for option in made.command() for word in option.split("=", 1)]
    return [word for word in words if word != "--dry-run"]


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_a_recipe_trains_as_published(recipe) -> None:
    found = f" {' '.join(command(recipe))} "
    wanted = PUBLISHED[recipe].replace(" --", "\n--").split("\n")
    assert [option for option in wanted if f" {option} " not in found] == []
    assert ("--weight-dropout" in found) == ("--weight-dropout" in PUBLISHED[recipe])


def test_the_awd_recipe_drops_weights_of_ones_own_recurrent_cell(tmp_path) -> None:
    """This package does not know the cell: fairseq imports it."""
    (tmp_path / "own_awd").mkdir()
    (tmp_path / "own_awd" / "__init__.py").write_text(
        "import fairseq_wsum.plugin\n"
        "from fairseq_wsum import CELLS, register_cell\n"
        "register_cell(type(CELLS['gru'])(name='own-gru'))\n"
    )
    recipe = [ROOT / "examples/language_model_awd/awd.sh", "--corpus", "ptb", "--cell", "own-gru"]
    shown = succeeds(*recipe, "--user-dir", tmp_path / "own_awd", "--dry-run")
    assert " --weight-dropout=0.5 " in shown


@pytest.mark.parametrize("recipe", MODELS)
def test_a_recipe_has_the_published_model(recipe) -> None:
    args = training_options(["fairseq-train", "data", *command(recipe)])
    defaults = MODEL_DATACLASS_REGISTRY.get(ARCH_MODEL_NAME_REGISTRY[args.arch], SimpleNamespace)
    found = {**vars(defaults()), **vars(args)}
    assert {name: found[name] for name in MODELS[recipe]} == MODELS[recipe]


@pytest.mark.parametrize(
    ("recipe", "others"),
    [
        ("strong", ["--fairseq-lstm"]),
        ("transformer", ["--cell sru", "--fairseq-transformer"]),
        ("transformer_tiny", ["--cell sru", "--fairseq-transformer"]),
        ("transformer_lm", ["--cell sru", "--fairseq-transformer"]),
    ],
)
def test_every_model_of_a_recipe_has_the_same_training(recipe, others) -> None:
    commands = [command(f"{recipe} {options}") for options in ["", *others]]
    trainings = [words[words.index("--criterion") :] for words in commands]
    assert all(training == trainings[0] for training in trainings)


# Results

RUNS = sorted(ROOT.glob("examples/*/*.runs.json"))


@pytest.mark.parametrize("runs", RUNS, ids=lambda path: path.name)
def test_the_page_has_the_tables_of_its_runs(runs) -> None:
    name = runs.name.removesuffix(".runs.json")
    plan = read_plan(runs.with_name(f"{name}.yaml"))
    results, page = read_runs(plan, [runs]), runs.with_name("README.md").read_text("utf-8")
    tables = [Table(task, results) for task in plan.tasks]
    shown = [markdown(table) for table in tables if any(table.runs.values())]
    assert shown and all(table in page for table in shown)
