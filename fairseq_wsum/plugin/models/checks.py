"""Checks of a model against its task."""

from fairseq.tasks import FairseqTask
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask


def check_task(task: FairseqTask, arch: str) -> None:
    """Check that a language model, whose name ends in `_lm`, is not trained by translation.

    Nor may another model be trained by language modelling.

    Raises:
        ValueError: the task does not suit the model.
    """
    if arch.endswith("_lm") and isinstance(task, TranslationTask):
        raise ValueError(
            f"--arch {arch} is a language model: give --task language_modeling or "
            f"wsum_language_modeling, or for translation --arch {arch.removesuffix('_lm')}"
        )
    if not arch.endswith("_lm") and isinstance(task, LanguageModelingTask):
        raise ValueError(
            f"--arch {arch} is a translation model: give --task translation, or for a language "
            f"model --arch {arch}_lm"
        )
