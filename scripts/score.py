"""Score the output of fairseq-generate in both ways with sacrebleu. Called by score.sh."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recorded import NEEDED
from sacrebleu.metrics import BLEU, CHRF
from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer
from translating import value_of

sys.path.append(str(Path(__file__).parents[1]))  # the package may not be installed
from fairseq_wsum.experiments.files import UserError, lines, run, versions, write_lines
from fairseq_wsum.experiments.folder import read_translation_record
from fairseq_wsum.experiments.generated import arrange, tagged

UNKNOWN = "<unk>"
ESCAPED = re.compile(r"&(?:amp|apos|gt|lt|quot|#\d+);")  # as Moses writes special characters


@dataclass
class Figure:
    """One score. `signature` says how sacrebleu computed it, `text` on which form of the text."""

    text: str
    metric: str
    score: float
    signature: str
    reference: str


def main() -> None:
    score(parse())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("data", type=Path)
    parser.add_argument("--subset", required=True)
    parser.add_argument("--source-lang", required=True)
    parser.add_argument("--target-lang", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--beam", type=int, required=True)
    parser.add_argument("--lenpen", required=True, type=lambda text: text.split(","))
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--averaged", default="", type=str.split)
    parser.add_argument("--replace-unk", action="store_true")
    parser.add_argument("--generate-options", default="", type=str.strip)
    return parser.parse_args()


def score(args: argparse.Namespace) -> None:
    source, target = args.source_lang, args.target_lang
    direction = {"source_lang": source, "target_lang": target}  # which may be the data's other one
    prepared = {**read_translation_record(args.data, NEEDED), **direction}
    expected = len(read_lines(args.data / "text" / f"{args.subset}.{target}"))
    results: list[dict[str, Any]] = []
    for lenpen in args.lenpen:
        printed = read_lines(args.out / f"generate.lenpen{lenpen}.txt")
        sentences = arrange(tagged(printed, "H"), expected, "hypotheses")
        if args.replace_unk:
            words = read_lines(args.data / "text" / f"{args.subset}.{source}")
            alignments = arrange(tagged(printed, "A"), expected, "alignments")
            sentences = replace_unknown(sentences, alignments, words)
        detok = detokenised(sentences, prepared)
        write_lines(args.out / f"hypotheses.lenpen{lenpen}.{target}", sentences)
        write_lines(args.out / f"hypotheses.lenpen{lenpen}.detok.{target}", detok)
        figures = both_ways(sentences, detok, prepared, args.data / "reference", args.subset)
        results.append({"lenpen": float(lenpen), "figures": [asdict(f) for f in figures]})

    best = max(results, key=lambda result: result["figures"][0]["score"])
    record = {
        **best,
        "subset": args.subset,
        "sentences": expected,
        "checkpoint": args.checkpoint,
        "averaged": args.averaged,
        "beam": args.beam,
        "replace_unk": args.replace_unk,
        "generate_options": args.generate_options,
        "note": note(args.generate_options),
        "data": {name: prepared[name] for name in NEEDED},
        "tried": results,
        "versions": versions("fairseq", "fairseq-fixed", "torch", "sacrebleu", "sacremoses"),
    }
    (args.out / "scores.json").write_text(json.dumps(record, indent=2) + "\n")
    show(results, best, args)


def note(generate_options: str) -> str | None:
    """What a reader of the scores must know about them, if anything."""
    size = value_of(shlex.split(generate_options), "--prefix-size") or "0"
    if size == "0":
        return None
    return f"the first {size} units of each translation are those of its reference (--prefix-size)"


def replace_unknown(sentences: list[str], alignments: list[str], source: list[str]) -> list[str]:
    """Replace every <unk> by the aligned source word. An alignment is "source-target ..."."""
    done = []
    for sentence, alignment, words in zip(sentences, alignments, source, strict=True):
        pairs = (pair.split("-") for pair in alignment.split())
        aligned = {int(target): int(source_word) for source_word, target in pairs}
        original = words.split()
        done.append(
            " ".join(
                original[aligned[i]] if token == UNKNOWN and i in aligned else token
                for i, token in enumerate(sentence.split())
            )
        )
    return done


# Scoring


def detokenised(sentences: list[str], prepared: dict[str, str]) -> list[str]:
    if prepared["text"] == "raw" and prepared["units"] == "bpe":
        return sentences  # the text was never tokenised
    moses = MosesDetokenizer(lang=prepared["target_lang"])
    return [moses.detokenize(sentence.split()) for sentence in sentences]


def lower_cased_tokens(sentences: list[str], lang: str, reference: Path) -> list[str]:
    """Tokens like those of a reference, which may have Moses' escapes, such as &apos;."""
    escape = reference.is_file() and any(map(ESCAPED.search, read_lines(reference)))
    normalise, moses = MosesPunctNormalizer(lang=lang), MosesTokenizer(lang=lang)
    return [
        moses.tokenize(normalise.normalize(sentence.lower()), return_str=True, escape=escape)
        for sentence in sentences
    ]


def both_ways(
    sentences: list[str],
    detok: list[str],
    prepared: dict[str, str],
    references: Path,
    subset: str,
) -> list[Figure]:
    """The scores, first those on the form of the text that the system was trained on."""
    tokens: dict[str, Any] = {"tokenize": "none", "force": True}
    # description, the system's sentences, form of the reference, lower case, options of BLEU
    target = prepared["target_lang"]
    if prepared["text"] == "lc.norm.tok":
        ways = [
            ("lower-cased tokens", sentences, "lc.norm.tok", False, tokens),
            ("detokenised, lower-cased", detok, "raw", True, {}),
            ("detokenised, cased (the system writes no case)", detok, "raw", False, {}),
        ]
    else:
        approximate = "lower-cased tokens, approximate: tokenised by sacremoses"
        tokenised = references / f"{subset}.lc.norm.tok.{target}"
        ways = [
            ("detokenised, cased", detok, "raw", False, {}),
            (
                approximate,
                lower_cased_tokens(detok, target, tokenised),
                "lc.norm.tok",
                False,
                tokens,
            ),
        ]
    figures = []
    for text, system, reference, lower, options in ways:
        path = references / f"{subset}.{reference}.{target}"
        if not path.is_file():
            print(f"not scored, as there is no {path}: {text}", file=sys.stderr)
            continue
        right = read_lines(path)
        if len(right) != len(system):  # sacrebleu would silently score the first ones
            raise UserError(
                f"{path} has {len(right)} lines for {len(system)} translations: prepare the data "
                "again from files with the same sentences in both forms"
            )
        # without `tokenize`, sacrebleu chooses by the language: 13a for most
        bleu = BLEU(lowercase=lower, trg_lang=target, **options)
        for metric in (bleu, CHRF(lowercase=lower)):
            result = metric.corpus_score(system, [right])
            signature = str(metric.get_signature())
            figures.append(Figure(text, result.name, result.score, signature, path.name))
    return figures


# Files and output


def show(results: list[dict], best: dict, args: argparse.Namespace) -> None:
    if len(results) > 1:
        first = best["figures"][0]
        print(f"{first['metric']} {args.subset}, {first['text']}, {first['signature']}")
        for result in results:
            mark = "  best" if result is best else ""
            print(f"  lenpen {result['lenpen']:g}: {result['figures'][0]['score']:.2f}{mark}")
    print(f"{args.subset}, beam {args.beam}, lenpen {best['lenpen']:g}:")
    for figure in best["figures"]:
        print(f"  {figure['metric']:5} {figure['score']:6.2f}  {figure['text']}")
        print(f"                {figure['signature']}")
    if found := note(args.generate_options):
        print(f"note: {found}")


def read_lines(path: Path) -> list[str]:
    return lines(path.read_bytes())


if __name__ == "__main__":
    run(main)
