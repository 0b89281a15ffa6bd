#!/usr/bin/env bash
# One task per participant: pools the runs and sessions of one person. Submitted by submit.sh.
#SBATCH --job-name=bids-group-participant
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=00:20:00
set -euo pipefail
label=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$LABELS")
# shellcheck disable=SC2086  # BIDS_GROUP may be several words: "apptainer run … bids-group.sif"
exec $BIDS_GROUP "$BIDS_DIR" "$OUTPUT_DIR" participant --participant-label "$label" "$@"
