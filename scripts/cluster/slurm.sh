#!/usr/bin/env bash
# A training on two machines of four GPUs each, through as many jobs as it takes:
#
#   sbatch scripts/cluster/slurm.sh experiment=vqa_updown
#
# Two minutes before its time is up every process hears SIGUSR1: a checkpoint is written, the job goes back into the
# queue (scontrol requeue), and the same script continues it. After SIGTERM (scancel, a preemption) Slurm itself decides.
#SBATCH --job-name=limner
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
set -euo pipefail
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # since Slurm 22.05 srun does not take it from sbatch: one core each
srun limner train trainer=multinode resume=auto "$@"
