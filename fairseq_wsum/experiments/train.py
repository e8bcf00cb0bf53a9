"""`scripts/train.sh`: run fairseq-train with this package, in one process or many."""

from __future__ import annotations

import argparse
import filecmp
import os
import shlex
import signal
import socket
import sys
from pathlib import Path

import torch
from joblib import cpu_count

from ..argument_types import positive
from ..products import has_fast_bfloat16
from .checkpoints import restore_last
from .locks import hold
from .program import PACKAGE, UserError, named, parse_data_first, say, script_parser, user_dir

DESCRIPTION = """\
Train a model on DATA (a folder of scripts/prepare.sh or fairseq-preprocess). An interrupted
run continues from DIR/checkpoint_last.pt and gives the result of an uninterrupted one."""
EPILOG = """\
These fairseq options are added unless you give them; all other options are passed to fairseq-train:
  --user-dir                           this package
  --required-batch-size-multiple 1     otherwise fairseq drops the last few sentences of a data set
  --update-epoch-batch-itr True        otherwise a training resumed after its first epoch gets other
                                       batches than an uninterrupted one

examples:
  # one process: a GPU if there is one, else the CPU
  scripts/train.sh data-bin/multi30k --arch wsum_lstm --save-dir runs/first \\
      --optimizer adam --lr 2e-3 --batch-size 96 --max-epoch 30

  # two processes on the CPU
  scripts/train.sh data-bin/multi30k --cpu-processes 2 --arch wsum_lstm --save-dir runs/cpu2 ...

  # Two machines with eight GPUs each: run this on both (see docs/two-machines.md). On CPUs set
  # GLOO_SOCKET_IFNAME in place of NCCL_SOCKET_IFNAME, and add --gpus 0.
  NCCL_SOCKET_IFNAME=eth0 torchrun --nnodes 2 --node_rank RANK --nproc_per_node 8 \\
      --master_addr HOST --master_port 29500 --no-python \\
      scripts/train.sh DATA --arch wsum_lstm --save-dir /shared/runs/big ...

  # the same with Slurm, which starts torchrun on both
  srun --nodes 2 --ntasks-per-node 1 --gpus-per-node 8 torchrun --nnodes 2 --nproc_per_node 8 \\
      --rdzv_backend c10d --rdzv_endpoint HOST:29500 --no-python \\
      scripts/train.sh DATA --arch wsum_lstm --save-dir /shared/runs/big ..."""
RESETS = ("--reset-optimizer", "--reset-lr-scheduler", "--reset-meters", "--reset-dataloader")
# options that do not change the model
WITHOUT_EFFECT = {"--num-workers", "--log-format", "--log-interval"}
# torchrun starts this program again in each process
AGAIN = f"import sys; sys.path.append({str(PACKAGE.parent)!r}); "
AGAIN += "from fairseq_wsum.experiments.program import run_module; "
AGAIN += f"run_module({__name__!r}, sys.argv[1:])"


def main(given: list[str]) -> None:
    """Train with a command line."""
    args, options = read_options(given)
    ours, first = command(args, options)
    check_machine(args)
    if args.dry_run:
        print(shlex.join(ours))
        return
    if first or args.cpu_processes > 1:  # also before torchrun starts the processes
        check_paths(args, options)
    if first:
        _held = hold(args.save_dir, ".train.lock", "--save-dir")  # also by fairseq-train
        prepare_to_continue(args, options)
    # Idle OpenMP threads sleep instead of spinning. This costs about 7 % on an otherwise idle
    # machine and trains 1.7 times as fast beside two busy processes (docs/tuning.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # The processes for GPUs end with the first one by SIGINT, which programs ignore that a script
    # has started in the background.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(ours[0], ours)


# Options


def read_options(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those of fairseq-train."""
    usage = "DATA --arch ARCH --save-dir DIR [options] [any option of fairseq-train]"
    parser = script_parser("scripts/train.sh", DESCRIPTION, EPILOG, usage)
    add = parser.add_argument
    add("--save-dir", metavar="DIR", type=named, required=True, help="folder for the checkpoints")
    help = "use N GPUs of this machine; 0 uses the CPU (default: all visible GPUs). Leave it out "
    help += "if torchrun starts one process per GPU"
    add("--gpus", type=int, metavar="N", help=help)
    add("--cpu", dest="gpus", action="store_const", const=0, help="the same as --gpus 0")
    help = "train on the CPU with N processes, each with its own batch and an equal share of the"
    help += " cores (OMP_NUM_THREADS, unless it is set)"
    add("--cpu-processes", type=positive, default=0, metavar="N", help=help)
    help = "fp32 (default); fp16 or bf16 (the whole model; the optimiser updates fp32 copies of "
    help += "the weights); amp (PyTorch's automatic mixed precision). fp16 and amp need a GPU, and"
    help += " bf16 a GPU or a CPU with AVX-512"
    add("--precision", choices=("fp32", "fp16", "bf16", "amp"), default="fp32", help=help)
    for name in ("fp16", "amp"):  # fairseq's own options, which need a GPU
        add(f"--{name}", dest="precision", action="store_const", const=name, help=argparse.SUPPRESS)
    help = "fairseq's option: start from the weights in FILE. The same command continues an "
    help += "interrupted run, as always"
    add("--finetune-from-model", metavar="FILE", help=help)
    add("--dry-run", action="store_true", help="print the command and stop")
    add("--user-dir", type=user_dir, default=str(PACKAGE), help=argparse.SUPPRESS)
    add("--restore-file", help=argparse.SUPPRESS)
    args, options = parse_data_first(parser, given)
    args.on_cpu = args.gpus == 0 or args.cpu_processes > 0
    if args.gpus is not None and args.gpus < 0:  # fairseq would start no process, and end
        raise UserError(f"--gpus {args.gpus}: give a positive whole number, or 0 for the CPU")
    if args.gpus and args.cpu_processes:
        raise UserError(
            f"--gpus {args.gpus} and --cpu-processes {args.cpu_processes} exclude each other; give "
            "only one"
        )
    for name in ("finetune_from_model", "restore_file"):
        if (value := getattr(args, name)) is not None:
            options += [f"--{name.replace('_', '-')}", value]
    return args, options


def has(options: list[str], *names: str) -> bool:
    """Whether options are given, with or without `=value`."""
    return any(option.partition("=")[0] in names for option in options)


# The command


def command(args: argparse.Namespace, options: list[str]) -> tuple[list[str], bool]:
    """The command that trains, and whether this process is the first of those that train.

    Every branch tells fairseq the number of processes. A process that does not know of the others
    would train alone and overwrite their checkpoints.
    """
    settings = [args.data, "--save-dir", str(args.save_dir), "--user-dir", args.user_dir]
    # of an option that occurs twice, fairseq takes the last
    settings += ["--required-batch-size-multiple", "1", "--update-epoch-batch-itr", "True"]
    precision = [] if args.precision == "fp32" else [f"--{args.precision}"]
    train = ["fairseq-train", *settings, *precision]
    if args.on_cpu:
        # fairseq would use a GPU for some things, even with --cpu
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    world = int(os.environ.get("WORLD_SIZE") or 1)
    if world > 1 and {"RANK", "MASTER_ADDR"} <= os.environ.keys():
        if args.gpus or args.cpu_processes:
            option = "--cpu-processes" if args.cpu_processes else "--gpus"
            raise UserError(f"{option}: torchrun sets the number of processes; omit this option")
        return [*train, *_under_torchrun(args, world), *options], os.environ["RANK"] == "0"
    if int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        raise UserError("srun: let it start torchrun, once on each node (see --help)")
    if args.cpu_processes > 1:
        return [*_torchrun(args, train), *options], False
    if args.on_cpu:
        return [*train, "--cpu", "--distributed-world-size", "1", *options], True
    return [*train, *_alone(args), *options], True


def check_machine(args: argparse.Namespace) -> None:
    """Check that this machine has the GPUs and the instructions that the options need.

    A dry run may be for another machine.
    """
    here = None if args.dry_run else torch.cuda.device_count()
    on_cpu = args.on_cpu or here == 0
    if args.precision in ("fp16", "amp") and on_cpu:
        raise UserError(f"--precision {args.precision} needs a GPU; on the CPU use bf16 or fp32")
    if args.precision == "bf16" and on_cpu and here is not None and not has_fast_bfloat16():
        raise UserError(
            "--precision bf16: this processor has no instructions for it; use fp32, the default, "
            "which is faster here"
        )
    if args.gpus and here is not None and args.gpus > here:
        raise UserError(
            f"--gpus {args.gpus}: torch sees {here} here; give --gpus 0 for the CPU, or install "
            "torch for your GPUs"
        )


def _torchrun(args: argparse.Namespace, train: list[str]) -> list[str]:
    """Several processes on the CPU of this machine."""
    threads = max(cpu_count() // args.cpu_processes, 1)
    os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(threads)
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    starter = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc_per_node"]
    starter += [str(args.cpu_processes), "--master_addr", "127.0.0.1", "--master_port", str(port)]
    return [*starter, "--no-python", sys.executable, "-P", "-c", AGAIN, *train[1:], "--gpus", "0"]


def _under_torchrun(args: argparse.Namespace, world: int) -> list[str]:
    """The options of one of the processes that torchrun has started."""
    found = ["--distributed-world-size", str(world), "--distributed-rank", os.environ["RANK"]]
    found += ["--distributed-init-method", "env://", "--distributed-no-spawn"]
    if args.gpus == 0:
        return [*found, "--cpu", "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    return [*found, "--device-id", os.environ["LOCAL_RANK"]]


def _alone(args: argparse.Namespace) -> list[str]:
    """A single process. It starts one for each GPU: without --gpus, for all, or uses the CPU."""
    # fairseq would take the number from a job of Slurm, and wait for tasks of srun, or from the
    # variables of torchrun, which may be set for a single process.
    unset = "SLURM_JOB_NODELIST SLURM_STEP_NODELIST MASTER_ADDR MASTER_PORT WORLD_SIZE RANK"
    for name in unset.split():
        os.environ.pop(name, None)
    return ["--distributed-world-size", str(args.gpus)] if args.gpus else []


# Files


def check_paths(args: argparse.Namespace, options: list[str]) -> None:
    """Check the folders, and that a model is named.

    fairseq reads the training text of DATA:MORE from a folder per epoch, but the dictionaries and
    the other texts from the first: in a folder with other dictionaries it would read other words.
    """
    names = args.data.split(":")
    if missing := [name for name in names if not name or not Path(name).is_dir()]:
        raise UserError(
            f"no data folder {missing[0]} (a ':' ends a path); make it with scripts/prepare.sh "
            "or fairseq-preprocess"
        )
    first, *more = map(Path, names)
    for folder in more:
        for words in folder.glob("dict*.txt"):
            same = first / words.name
            if same.is_file() and not filecmp.cmp(words, same, shallow=False):
                raise UserError(
                    f"{words} differs from that of {first}: prepare the text with the dictionaries "
                    f"of {first} (scripts/prepare.sh translation --like, or fairseq-preprocess "
                    "--srcdict)"
                )
    if not has(options, "--arch", "-a"):
        raise UserError(
            "no --arch: name a model, such as wsum_lstm (fairseq-wsum options NAME shows its "
            "options)"
        )
    args.save_dir.mkdir(parents=True, exist_ok=True)


def prepare_to_continue(args: argparse.Namespace, options: list[str]) -> None:
    """If the folder has checkpoints, check that the training continues from the last one."""
    folder: Path = args.save_dir
    last = folder / "checkpoint_last.pt"
    if not any(folder.glob("checkpoint*.pt")):
        return
    given = args.restore_file or "checkpoint_last.pt"
    restore = last if given == "checkpoint_last.pt" else Path(given)  # fairseq's default: continue
    resets = [name for name in RESETS if has(options, name)]
    if resets or not restore.parent.is_dir() or not restore.parent.samefile(folder):
        # Another file would start this training again, over its checkpoints. A reset would act at
        # every restart.
        raise UserError(
            f"{resets[0] if resets else f'--restore-file {restore}'}: {folder} has checkpoints, "
            "which would be overwritten. To continue from them, leave out --restore-file and every "
            "--reset-... option; otherwise give a new --save-dir. --finetune-from-model FILE "
            "starts from FILE once and then continues"
        )
    base = Path(args.finetune_from_model) if args.finetune_from_model else None
    if base and base.is_file() and not last.exists() and base.parent.samefile(folder):
        raise UserError(
            f"--finetune-from-model {base} is in --save-dir, where it would be continued and "
            "overwritten; give a new --save-dir"
        )
    if restore.name == last.name:
        # without it fairseq would start a new training, over the other checkpoints
        restore_last(folder, is_kept=not has(options, "--no-last-checkpoints"))
        say(f"continuing from {last}")
