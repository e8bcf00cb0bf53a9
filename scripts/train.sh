#!/usr/bin/env bash
# Run fairseq-train with this package, in one process or many. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/train.sh DATA --arch ARCH --save-dir DIR [options] [any option of fairseq-train]

Train a model on DATA (a folder of scripts/prepare_*.sh or fairseq-preprocess). An interrupted
training continues from DIR/checkpoint_last.pt and gives the result of an uninterrupted one.

  --gpus N            use N GPUs of this machine; 0 uses the CPU (default: all visible GPUs). Leave
                      it out if torchrun or srun starts one process per GPU
  --cpu-processes N   train on the CPU with N processes, each with its own batch and an equal share
                      of the cores (OMP_NUM_THREADS, unless it is set)
  --precision P       fp32 (default); fp16 or bf16 (the whole model; the optimiser updates fp32
                      copies of the weights); amp (PyTorch's automatic mixed precision). fp16 and
                      amp need a GPU; on a CPU without AVX-512 fp32 is faster than bf16
  --finetune-from-model FILE
                      fairseq's option: start from the weights in FILE. The same command continues
                      an interrupted training, as always
  --skip-damaged      if DIR/checkpoint_last.pt is damaged, keep it under another name and continue
                      from the newest intact checkpoint in DIR. (If it is missing, training
                      continues from there in any case.)
  --dry-run           print the command and stop
  --help              this text

These fairseq options are added unless you give them; all other options are passed to fairseq-train:
  --user-dir                           this package
  --required-batch-size-multiple 1     otherwise fairseq drops the last few sentences of a data set
  --update-epoch-batch-itr True        otherwise a training resumed after its first epoch gets other
                                       batches than an uninterrupted one

examples:
  # one process: a GPU if there is one, else the CPU
  scripts/train.sh data-bin/multi30k --arch wsum_lstm --save-dir runs/first \
      --optimizer adam --lr 2e-3 --batch-size 96 --max-epoch 30

  # two processes on the CPU
  scripts/train.sh data-bin/multi30k --cpu-processes 2 --arch wsum_lstm --save-dir runs/cpu2 ...

  # Two machines with eight GPUs each. Run this on both: RANK is 0 on the first and 1 on the second,
  # HOST is the address of the first, eth0 the interface of each (see: ip -br address). Both need
  # the same DATA and options, and a shared --save-dir. See docs/two-machines.md.
  NCCL_SOCKET_IFNAME=eth0 torchrun --nnodes 2 --node_rank RANK --nproc_per_node 8 \
      --master_addr HOST --master_port 29500 --no-python \
      scripts/train.sh DATA --arch wsum_lstm --save-dir /shared/runs/big ...

  # The same on CPUs, two processes per machine. Without GLOO_SOCKET_IFNAME the machines may try to
  # reach each other at 127.0.0.1: one is refused, and the other waits.
  GLOO_SOCKET_IFNAME=eth0 OMP_NUM_THREADS=8 torchrun --nnodes 2 --node_rank RANK \
      --nproc_per_node 2 --master_addr HOST --master_port 29500 --no-python \
      scripts/train.sh DATA --gpus 0 --arch wsum_lstm --save-dir /shared/runs/big ...

  # two machines with Slurm: one task per GPU (or one per node, which starts the others)
  srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 \
      scripts/train.sh DATA --arch wsum_lstm --save-dir /shared/runs/big ...
EOF
}

data='' gpus='' cpu_processes='' precision=fp32 dry_run=false skip_damaged=false
save_dir='' user_dir="$REPO/fairseq_wsum" multiple=1 new_batches=True restore=''
options=() # for fairseq-train

while [ $# -gt 0 ]; do
    case "$1" in
        --gpus=* | --cpu-processes=* | --precision=* | --save-dir=* | --user-dir=* | \
            --restore-file=* | --required-batch-size-multiple=* | --update-epoch-batch-itr=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        -h | --help) usage && exit ;;
        --dry-run) dry_run=true ;;
        --no-last-checkpoints)
            die "$1: an interrupted training could not continue where it was; omit this option" \
                "(--no-epoch-checkpoints saves more space)"
            ;;
        --no-save-optimizer-state)
            die "$1: an interrupted training would begin its learning rate and its updates again;" \
                "omit this option (--no-epoch-checkpoints saves space, too)"
            ;;
        --skip-damaged) skip_damaged=true ;;
        --gpus) gpus="$(value "$@")"; shift ;;
        --cpu-processes) cpu_processes="$(value "$@")"; shift ;;
        --precision) precision="$(value "$@")"; shift ;;
        --cpu) gpus=0 ;;
        --save-dir) save_dir="$(value "$@")"; shift ;;
        --user-dir) user_dir="$(value "$@")"; shift ;;
        --required-batch-size-multiple) multiple="$(value "$@")"; shift ;;
        --update-epoch-batch-itr) new_batches="$(value "$@")"; shift ;;
        --restore-file) restore="$(value "$@")"; options+=("$1" "$restore"); shift ;;
        *)
            if [ -z "$data" ] && [ ${#options[@]} -eq 0 ] && [[ "$1" != -* ]]; then
                data="$1"
            else
                options+=("$1")
            fi
            ;;
    esac
    shift
done
[ -n "$data" ] || die "no data: give the folder first, before fairseq's options (see --help)"
# fairseq would continue any older training in its default folder, ./checkpoints.
[ -n "$save_dir" ] || die "no --save-dir: give a folder for the checkpoints of this training"
[ -z "$gpus" ] || [ "$gpus" = 0 ] || positive --gpus "$gpus"
[ -z "$cpu_processes" ] || positive --cpu-processes "$cpu_processes"
[ -z "$cpu_processes" ] || [ "${gpus:-0}" = 0 ] ||
    die "--gpus $gpus and --cpu-processes $cpu_processes exclude each other; give only one"
check_user_dir "$user_dir"
use_environment

# fairseq reads the training text of DATA:MORE from a folder per epoch, but the dictionaries and the
# other texts from the first: in a folder with other dictionaries it would read other words.
check_folders() { # DATA
    local first="${1%%:*}" rest="$1" folder dict
    while [[ "$rest" == *:* ]]; do
        rest="${rest#*:}" folder="${rest%%:*}"
        [ -d "$folder" ] || die "no data folder $folder, which is one of $1 (a ':' ends a path)"
        [[ " ${options[*]-} " == *' --train-subset'[\ =]* ]] ||
            [ -n "$(files_in "$folder" 'train*')" ] ||
            die "$folder, one of the folders of $1, has no training text"
        while IFS= read -r dict; do
            [ ! -f "$first/${dict##*/}" ] || cmp -s "$dict" "$first/${dict##*/}" ||
                die "$dict differs from that of $first: prepare the text with the dictionaries of" \
                    "$first (scripts/prepare_multi30k.sh --like, or fairseq-preprocess --srcdict)"
        done < <(files_in "$folder" 'dict*.txt')
    done
}

bf16_is_slow() { # True or False
    with_package 'from fairseq_wsum.ops import products; print(not products.has_fast_bfloat16())'
}

on_cpu() { # by request, or because there is no GPU: a dry run may be for another machine
    [ "$gpus" = 0 ] || [ -n "$cpu_processes" ] ||
        { ! $dry_run && [ -z "$gpus" ] && [ "$(gpus_here)" = 0 ]; }
}

needs_gpu() { # WHAT CURE
    local here
    here="$(gpus_here)" || exit
    [ "$here" -gt 0 ] || die "$1: torch sees no GPU here; $2"
}

common=(--save-dir "$save_dir" --user-dir "$user_dir" --required-batch-size-multiple "$multiple"
    --update-epoch-batch-itr "$new_batches")
case "$precision" in
    fp32) ;;
    bf16)
        common+=(--bf16)
        if ! $dry_run && [ "${RANK:-0}" = 0 ] && on_cpu && [ "$(bf16_is_slow)" = True ]; then
            die "--precision bf16: this processor has no instructions for it; use fp32, the default," \
                "which is faster here"
        fi
        ;;
    fp16 | amp)
        ! on_cpu || die "--precision $precision needs a GPU; on the CPU use bf16 or fp32"
        common+=("--$precision")
        ;;
    *) die "--precision $precision: choose from fp32, fp16, bf16, amp" ;;
esac

# Idle OpenMP threads sleep instead of spinning. This costs about 7 % on an otherwise idle machine
# and trains 1.7 times as fast beside two busy processes (docs/tuning.md, "Idle threads").
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

# Every branch tells fairseq the number of processes. A process that does not know of the others
# would train alone and overwrite their checkpoints.
first=true spawns=false
if [ "$gpus" = 0 ] || [ -n "$cpu_processes" ]; then
    export CUDA_VISIBLE_DEVICES='' # fairseq would use a GPU for some things, even with --cpu
fi
command=(fairseq-train "$data" "${common[@]}")
[ -z "$cpu_processes" ] || [ "${WORLD_SIZE:-1}" = 1 ] ||
    die "--cpu-processes and torchrun (WORLD_SIZE is $WORLD_SIZE) exclude each other; use only one," \
        "or unset WORLD_SIZE"
[ -z "$cpu_processes" ] || [ "${SLURM_STEP_NUM_TASKS:-1}" = 1 ] ||
    die "--cpu-processes and several tasks of srun exclude each other; use only one"
if [ -n "$cpu_processes" ] && [ "$cpu_processes" -gt 1 ]; then
    first=false # torchrun runs this script again in each process, where RANK 0 is the first
    threads=$(($(cores_here) / cpu_processes))
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 1 ? threads : 1))}"
    port="$("$PYTHON" -P -c 'import socket as s; print(s.create_server(("", 0)).getsockname()[1])')"
    command=("$PYTHON" -P -m torch.distributed.run --nproc_per_node "$cpu_processes"
        --master_addr 127.0.0.1 --master_port "$port" --no-python
        "$HERE/train.sh" "$data" "${common[@]}" --gpus 0)
    ! $skip_damaged || command+=(--skip-damaged)
elif [ -n "${RANK:-}" ] && [ -n "${MASTER_ADDR:-}" ] && [ "${WORLD_SIZE:-1}" -gt 1 ]; then # torchrun
    [ "${gpus:-0}" = 0 ] || die "--gpus $gpus: torchrun's --nproc_per_node sets the number; leave --gpus out"
    [ "$RANK" = 0 ] || first=false
    command+=(--distributed-world-size "$WORLD_SIZE" --distributed-rank "$RANK"
        --distributed-init-method env:// --distributed-no-spawn)
    if [ "$gpus" = 0 ]; then
        command+=(--cpu --distributed-backend gloo --ddp-backend legacy_ddp)
    else
        $dry_run || needs_gpu torchrun "add --gpus 0 to train on the CPU"
        command+=(--device-id "${LOCAL_RANK:?torchrun sets it}")
    fi
elif [ "${SLURM_STEP_NUM_TASKS:-1}" -gt 1 ]; then # srun; fairseq reads the rest from SLURM_*
    [ "$gpus" != 0 ] || die "--gpus 0 under srun: start the processes with torchrun (see --help)"
    [ "${SLURM_PROCID:?srun sets it}" = 0 ] || first=false
    nodes="${SLURM_STEP_NUM_NODES:-${SLURM_NNODES:-1}}"
    processes="$SLURM_STEP_NUM_TASKS"
    if [ "$nodes" = "$processes" ]; then # one task per node: fairseq starts a process per GPU
        processes=$((nodes * ${gpus:-$(gpus_here)}))
        if [ -n "$gpus" ]; then # fairseq uses every visible GPU
            IFS=, read -ra seen <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s , 0 $((gpus - 1)))}"
            [ ${#seen[@]} -ge "$gpus" ] ||
                die "--gpus $gpus: CUDA_VISIBLE_DEVICES gives this task only ${#seen[@]}"
            devices="$(printf '%s,' "${seen[@]:0:gpus}")"
            command=(env "CUDA_VISIBLE_DEVICES=${devices%,}" "${command[@]}")
        fi
    elif [ -n "$gpus" ]; then
        die "--gpus $gpus: Slurm's --ntasks-per-node sets the number; leave --gpus out"
    fi
    # Without it every task would train alone, and overwrite the checkpoints of the others.
    $dry_run || [ -n "$(command -v scontrol)" ] ||
        die "srun: fairseq needs Slurm's scontrol, which is not on PATH here (in a container?);" \
            "start the processes with torchrun (see --help)"
    $dry_run || needs_gpu srun "ask Slurm for GPUs, or start processes for the CPU with torchrun"
    command+=(--distributed-world-size "$processes"
        --distributed-port "${MASTER_PORT:-$((10000 + SLURM_JOB_ID % 50000))}")
elif [ "${OMPI_COMM_WORLD_SIZE:-1}" -gt 1 ]; then
    die "mpirun is not supported; start the processes with torchrun or srun (see --help)"
elif [ -z "$cpu_processes" ] && [ "$gpus" != 0 ]; then
    # This process starts one for each GPU: without --gpus, for all visible ones, or uses the CPU.
    $dry_run || [ -z "$gpus" ] || enough_gpus "$gpus"
    [ -z "$gpus" ] || command+=(--distributed-world-size "$gpus")
    # fairseq would take the number from a job of Slurm, and wait for tasks of srun, or from the
    # variables of torchrun, which may be set for a single process.
    [ -z "${SLURM_JOB_NODELIST:-}${SLURM_STEP_NODELIST:-}${MASTER_ADDR:-}" ] ||
        command=(env -u SLURM_JOB_NODELIST -u SLURM_STEP_NODELIST -u MASTER_ADDR -u MASTER_PORT
            -u WORLD_SIZE -u RANK "${command[@]}")
    spawns=true
else
    command+=(--cpu --distributed-world-size 1)
fi
[ ${#options[@]} -eq 0 ] || command+=("${options[@]}")

if $dry_run; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
if $first || [ "${cpu_processes:-1}" -gt 1 ]; then # also before torchrun starts the processes
    [ -d "${data%%:*}" ] ||
        die "no data folder ${data%%:*} (a ':' ends a path); make it with" \
            "scripts/prepare_multi30k.sh or fairseq-preprocess"
    check_folders "$data"
    [[ " ${options[*]-}" =~ \ (--arch|-a)[\ =] ]] ||
        die "no --arch: name a model, such as wsum_lstm (fairseq-wsum options NAME shows its options)"
    { mkdir -p "$save_dir" && [ -w "$save_dir" ]; } ||
        die "--save-dir $save_dir cannot be written to: give another folder"
fi
if $first; then
    exec 9>>"$save_dir/.train.lock" # the training and its data workers inherit it
    lock 9 "$save_dir/.train.lock" --save-dir "$save_dir" "give a new folder"
    last="$save_dir/checkpoint_last.pt"
    case "$restore" in '' | checkpoint_last.pt) restore="$last" ;; esac # fairseq's default: continue
    resets='(--reset-(optimizer|lr-scheduler|meters|dataloader))' # not --reset-logging
    if has_checkpoints "$save_dir"; then
        if [ ! "$(dirname -- "$restore")" -ef "$save_dir" ]; then
            # Another file than this training's own would start it again, over its checkpoints.
            die "--restore-file $restore would start again, and overwrite the checkpoints in" \
                "$save_dir. To continue these, leave out --restore-file and every --reset-..." \
                "option; to start again, give a new --save-dir. --finetune-from-model FILE in" \
                "place of --restore-file starts from FILE once and then continues"
        elif [[ " ${options[*]-}" =~ \ $resets ]]; then
            # It would act again at every restart; --reset-dataloader would begin at epoch 1.
            die "${BASH_REMATCH[1]}: $save_dir has checkpoints, and every restart would reset them" \
                "again. Give a new --save-dir, and --restore-file $last or" \
                "--finetune-from-model $last"
        elif [ "$(basename -- "$restore")" = checkpoint_last.pt ]; then
            # Without checkpoint_last.pt fairseq would start a new training and overwrite the other
            # checkpoints.
            if $skip_damaged || [ ! -e "$last" ]; then
                "$PYTHON" "$HERE/restore_last.py" "$save_dir"
            fi
            say "continuing from $last"
        fi
    fi
fi
if $spawns; then
    # The processes for the GPUs end with this one by SIGINT, which programs ignore that a script has
    # started in the background, as the recipes do.
    command=("$PYTHON" -P -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "${command[@]}")
fi
exec "${command[@]}"
