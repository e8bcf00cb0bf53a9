"""`scripts/train.sh`: run fairseq-train with this package, in one process or many."""

from __future__ import annotations

import argparse
import filecmp
import os
import shlex
import shutil
import signal
import socket
import sys
from pathlib import Path

from joblib import cpu_count

from ..argument_types import positive
from ..products import has_fast_bfloat16
from .files import PACKAGE, UserError, hold, named, parse_data_first, run, say, script_parser
from .restore import restore_last

DESCRIPTION = """\
Train a model on DATA (a folder of scripts/prepare_*.sh or fairseq-preprocess). An interrupted
training continues from DIR/checkpoint_last.pt and gives the result of an uninterrupted one."""
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

  # Two machines with eight GPUs each. Run this on both: RANK is 0 on the first and 1 on the second,
  # HOST is the address of the first, eth0 the interface of each (see: ip -br address). Both need
  # the same DATA and options, and a shared --save-dir. See docs/two-machines.md.
  NCCL_SOCKET_IFNAME=eth0 torchrun --nnodes 2 --node_rank RANK --nproc_per_node 8 \\
      --master_addr HOST --master_port 29500 --no-python \\
      scripts/train.sh DATA --arch wsum_lstm --save-dir /shared/runs/big ...

  # The same on CPUs, two processes per machine. Without GLOO_SOCKET_IFNAME the machines may try to
  # reach each other at 127.0.0.1: one is refused, and the other waits.
  GLOO_SOCKET_IFNAME=eth0 OMP_NUM_THREADS=8 torchrun --nnodes 2 --node_rank RANK \\
      --nproc_per_node 2 --master_addr HOST --master_port 29500 --no-python \\
      scripts/train.sh DATA --gpus 0 --arch wsum_lstm --save-dir /shared/runs/big ...

  # two machines with Slurm: one task per GPU (or one per node, which starts the others)
  srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 \\
      scripts/train.sh DATA --arch wsum_lstm --save-dir /shared/runs/big ..."""
GPUS = "CUDA_VISIBLE_DEVICES"  # the variable
REFUSED = {
    "--no-last-checkpoints": "an interrupted training could not continue where it was; omit this "
    "option (--no-epoch-checkpoints saves more space)",
    "--no-save-optimizer-state": "an interrupted training would begin its learning rate and its "
    "updates again; omit this option (--no-epoch-checkpoints saves space, too)",
}
RESETS = ("--reset-optimizer", "--reset-lr-scheduler", "--reset-meters", "--reset-dataloader")
# torchrun starts this program again in each process
AGAIN = f"import sys; sys.path.append({str(PACKAGE.parent)!r}); "
AGAIN += "from fairseq_wsum.experiments.train import main; main()"


def main() -> None:
    """Run the command line of this process."""
    run(_main)


def _main() -> None:
    args, options = read_options(sys.argv[1:])
    ours, first = command(args, options)
    check_machine(args)
    if args.dry_run:
        print(shlex.join(ours))
        return
    if first or args.cpu_processes > 1:  # also before torchrun starts the processes
        check_paths(args, options)
    if first:
        hold(args.save_dir, ".train.lock", "--save-dir")
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
    parser = script_parser("train.sh", usage, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("--save-dir", metavar="DIR", type=named, required=True, help="folder for the checkpoints")
    help = "use N GPUs of this machine; 0 uses the CPU (default: all visible GPUs). Leave it out "
    help += "if torchrun or srun starts one process per GPU"
    add("--gpus", type=int, metavar="N", help=help)
    add("--cpu", dest="gpus", action="store_const", const=0, help="the same as --gpus 0")
    help = "train on the CPU with N processes, each with its own batch and an equal share of the"
    help += " cores (OMP_NUM_THREADS, unless it is set)"
    add("--cpu-processes", type=positive, default=0, metavar="N", help=help)
    help = "fp32 (default); fp16 or bf16 (the whole model; the optimiser updates fp32 copies of "
    help += "the weights); amp (PyTorch's automatic mixed precision). fp16 and amp need a GPU; on"
    help += " a CPU without AVX-512 fp32 is faster than bf16"
    add("--precision", choices=("fp32", "fp16", "bf16", "amp"), default="fp32", help=help)
    help = "fairseq's option: start from the weights in FILE. The same command continues an "
    help += "interrupted training, as always"
    add("--finetune-from-model", metavar="FILE", help=help)
    help = "if DIR/checkpoint_last.pt is damaged, keep it under another name and continue from "
    help += "the newest intact checkpoint in DIR. (If it is missing, training continues from "
    help += "there in any case.)"
    add("--skip-damaged", action="store_true", help=help)
    add("--dry-run", action="store_true", help="print the command and stop")
    for name, default in (
        ("--user-dir", str(PACKAGE)),
        ("--required-batch-size-multiple", "1"),
        ("--update-epoch-batch-itr", "True"),
        ("--restore-file", None),
    ):
        add(name, default=default, help=argparse.SUPPRESS)
    args, data, options = parse_data_first(parser, given)
    args.data = data
    if args.gpus is not None and args.gpus < 0:
        raise UserError(f"--gpus {args.gpus}: give a positive whole number")
    if args.gpus and args.cpu_processes:
        raise UserError(
            f"--gpus {args.gpus} and --cpu-processes {args.cpu_processes} exclude each other; give "
            "only one"
        )
    for option, why in REFUSED.items():
        if option in options:
            raise UserError(f"{option}: {why}")
    if not args.user_dir or not Path(args.user_dir).is_dir():
        raise UserError(f"--user-dir {args.user_dir}: no such folder")
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
    for name in ("required-batch-size-multiple", "update-epoch-batch-itr"):
        settings += [f"--{name}", getattr(args, name.replace("-", "_"))]
    precision = [] if args.precision == "fp32" else [f"--{args.precision}"]
    train = ["fairseq-train", *settings, *precision]
    on_cpu = args.gpus == 0 or args.cpu_processes > 0
    if on_cpu:
        os.environ[GPUS] = ""  # fairseq would use a GPU for some things, even with --cpu
    world, tasks = _number("WORLD_SIZE"), _number("SLURM_STEP_NUM_TASKS")
    if args.cpu_processes and world > 1:
        raise UserError(
            f"--cpu-processes and torchrun (WORLD_SIZE is {world}) exclude each other; use only "
            "one, or unset WORLD_SIZE"
        )
    if args.cpu_processes and tasks > 1:
        raise UserError(
            "--cpu-processes and several tasks of srun exclude each other; use only one"
        )
    if args.cpu_processes > 1:
        return [*_torchrun(args, train), *options], False
    if world > 1 and "RANK" in os.environ and "MASTER_ADDR" in os.environ:
        found = _under_torchrun(args, world)
        return [*train, *found, *options], os.environ["RANK"] == "0"
    if tasks > 1:
        return [*_under_srun(args, train, tasks), *options], os.environ["SLURM_PROCID"] == "0"
    if _number("OMPI_COMM_WORLD_SIZE") > 1:
        raise UserError(
            "mpirun is not supported; start the processes with torchrun or srun (see --help)"
        )
    if on_cpu:
        return [*train, "--cpu", "--distributed-world-size", "1", *options], True
    return [*_alone(args, train), *options], True


def _number(variable: str) -> int:
    return int(os.environ.get(variable) or 1)


def check_machine(args: argparse.Namespace) -> None:
    """Check that this machine has the GPUs and the instructions that the options need.

    A dry run may be for another machine.

    Raises:
        UserError: it has not.
    """
    here = None if args.dry_run else gpus_here()
    on_cpu = args.gpus == 0 or args.cpu_processes > 0 or here == 0
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
    again = ["--no-python", sys.executable, "-P", "-c", AGAIN, *train[1:], "--gpus", "0"]
    return [*starter, *again, *(["--skip-damaged"] if args.skip_damaged else [])]


def _under_torchrun(args: argparse.Namespace, world: int) -> list[str]:
    """One of the processes that torchrun has started."""
    if args.gpus:
        raise UserError(
            f"--gpus {args.gpus}: torchrun's --nproc_per_node sets the number; leave --gpus out"
        )
    found = ["--distributed-world-size", str(world), "--distributed-rank", os.environ["RANK"]]
    found += ["--distributed-init-method", "env://", "--distributed-no-spawn"]
    if args.gpus == 0:
        return [*found, "--cpu", "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    _need_gpu(args, "torchrun", "add --gpus 0 to train on the CPU")
    return [*found, "--device-id", os.environ["LOCAL_RANK"]]


def _under_srun(args: argparse.Namespace, train: list[str], tasks: int) -> list[str]:
    """One of the tasks of srun; fairseq reads the rest from SLURM_*."""
    if args.gpus == 0:
        raise UserError("--gpus 0 under srun: start the processes with torchrun (see --help)")
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES") or _number("SLURM_NNODES"))
    before: list[str] = []
    processes = tasks
    if nodes == tasks:  # fairseq starts a process for every visible GPU of the node
        if args.gpus:
            seen = os.environ.get(GPUS) or ",".join(map(str, range(args.gpus)))
            chosen = seen.split(",")[: args.gpus]
            if len(chosen) < args.gpus:
                raise UserError(f"--gpus {args.gpus}: {GPUS} gives this task only {len(chosen)}")
            before = ["env", f"{GPUS}={','.join(chosen)}"]
        processes = nodes * (args.gpus or gpus_here())
    elif args.gpus:
        raise UserError(
            f"--gpus {args.gpus}: Slurm's --ntasks-per-node sets the number; leave --gpus out"
        )
    # Without it every task would train alone, and overwrite the checkpoints of the others.
    if not args.dry_run and shutil.which("scontrol") is None:
        raise UserError(
            "srun: fairseq needs Slurm's scontrol, which is not on PATH here (in a container?); "
            "start the processes with torchrun (see --help)"
        )
    _need_gpu(args, "srun", "ask Slurm for GPUs, or start processes for the CPU with torchrun")
    port = os.environ.get("MASTER_PORT") or str(10000 + int(os.environ["SLURM_JOB_ID"]) % 50000)
    size = ["--distributed-world-size", str(processes), "--distributed-port", port]
    return [*before, *train, *size]


def _alone(args: argparse.Namespace, train: list[str]) -> list[str]:
    """A single process. It starts one for each GPU: without --gpus, for all, or uses the CPU."""
    size = ["--distributed-world-size", str(args.gpus)] if args.gpus else []
    before: list[str] = []
    # fairseq would take the number from a job of Slurm, and wait for tasks of srun, or from the
    # variables of torchrun, which may be set for a single process.
    if {"SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST", "MASTER_ADDR"} & os.environ.keys():
        unset = "SLURM_JOB_NODELIST SLURM_STEP_NODELIST MASTER_ADDR MASTER_PORT WORLD_SIZE RANK"
        before = ["env", *(word for name in unset.split() for word in ("-u", name))]
    return [*before, *train, *size]


def gpus_here() -> int:
    """The number of GPUs that torch sees."""
    import torch

    return torch.cuda.device_count()


def _need_gpu(args: argparse.Namespace, what: str, cure: str) -> None:
    if not args.dry_run and gpus_here() == 0:
        raise UserError(f"{what}: torch sees no GPU here; {cure}")


# Files


def check_paths(args: argparse.Namespace, options: list[str]) -> None:
    """Check the folders, and that a model is named.

    fairseq reads the training text of DATA:MORE from a folder per epoch, but the dictionaries and
    the other texts from the first: in a folder with other dictionaries it would read other words.
    """
    first, *more = map(Path, args.data.split(":"))
    if not first.is_dir():
        raise UserError(
            f"no data folder {first} (a ':' ends a path); make it with scripts/prepare_multi30k.sh "
            "or fairseq-preprocess"
        )
    for folder in more:
        if not folder.is_dir():
            raise UserError(
                f"no data folder {folder}, which is one of {args.data} (a ':' ends a path)"
            )
        if not has(options, "--train-subset") and not any(folder.glob("train*")):
            raise UserError(f"{folder}, one of the folders of {args.data}, has no training text")
        for words in folder.glob("dict*.txt"):
            same = first / words.name
            if same.is_file() and not filecmp.cmp(words, same, shallow=False):
                raise UserError(
                    f"{words} differs from that of {first}: prepare the text with the dictionaries "
                    f"of {first} (scripts/prepare_multi30k.sh --like, or fairseq-preprocess "
                    "--srcdict)"
                )
    if not has(options, "--arch", "-a"):
        raise UserError(
            "no --arch: name a model, such as wsum_lstm (fairseq-wsum options NAME shows its "
            "options)"
        )
    args.save_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(args.save_dir, os.W_OK):
        raise UserError(f"--save-dir {args.save_dir} cannot be written to: give another folder")


def prepare_to_continue(args: argparse.Namespace, options: list[str]) -> None:
    """If the folder has checkpoints, check that the training continues from the last one."""
    folder: Path = args.save_dir
    last = folder / "checkpoint_last.pt"
    if not any(folder.glob("checkpoint*.pt")):
        return
    given = args.restore_file or "checkpoint_last.pt"
    restore = last if given == "checkpoint_last.pt" else Path(given)  # fairseq's default: continue
    if not restore.parent.is_dir() or not restore.parent.samefile(folder):
        # Another file than this training's own would start it again, over its checkpoints.
        raise UserError(
            f"--restore-file {restore} would start again, and overwrite the checkpoints in "
            f"{folder}. To continue these, leave out --restore-file and every --reset-... option; "
            "to start again, give a new --save-dir. --finetune-from-model FILE in place of "
            "--restore-file starts from FILE once and then continues"
        )
    for reset in RESETS:  # not --reset-logging
        if has(options, reset):
            # It would act again at every restart; --reset-dataloader would begin at epoch 1.
            raise UserError(
                f"{reset}: {folder} has checkpoints, and every restart would reset them again. "
                f"Give a new --save-dir, and --restore-file {last} or --finetune-from-model {last}"
            )
    if restore.name == last.name:
        # Without checkpoint_last.pt fairseq would start a new training and overwrite the other
        # checkpoints.
        if args.skip_damaged or not last.exists():
            restore_last(folder)
        say(f"continuing from {last}")
