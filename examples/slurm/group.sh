#!/usr/bin/env bash
# The group job: uses the pooled maps of the array that fit, and pools what is missing. Submitted by submit.sh.
#SBATCH --job-name=bids-group-group
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
set -euo pipefail
# shellcheck disable=SC2086  # BIDS_GROUP may be several words
exec $BIDS_GROUP "$BIDS_DIR" "$OUTPUT_DIR" group "$@"
