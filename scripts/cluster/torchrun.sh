#!/usr/bin/env bash
# The same command on each machine, with the name of one of them:
#
#   HEAD=node0 scripts/cluster/torchrun.sh experiment=vqa_updown
#   NODES=4 GPUS=8 HEAD=node0 scripts/cluster/torchrun.sh experiment=vqa_updown
#
# When a process dies, torchrun ends the others and starts all of them anew, three times at most; resume=auto goes on from
# the last checkpoint.
set -euo pipefail
torchrun --nnodes="${NODES:-2}" --nproc-per-node="${GPUS:-4}" --max-restarts=3 \
  --rdzv-backend=c10d --rdzv-endpoint="${HEAD:?HEAD=NAME: the machine where all of them meet}:${PORT:-29400}" \
  -m limner train trainer=multinode resume=auto "$@"
