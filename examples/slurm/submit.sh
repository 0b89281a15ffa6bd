#!/usr/bin/env bash
# submit.sh BIDS_DIR OUTPUT_DIR [options of the group job…]
#
# Submits an array of participant jobs (AT_ONCE of them at a time, default 4) and a group job that waits for them.
# The folders are those that BIDS_GROUP sees; it says how bids-group is called on a node (default: bids-group), e.g.
#   export BIDS_GROUP="apptainer run --cleanenv --containall -B /project:/project bids-group.sif"
# SBATCH_OPTIONS goes to every sbatch, e.g. "--partition=short --account=lab".
# A task that failed: the same line again submits everything again; finished work is used, nothing is done twice.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 's/^# \{0,1\}//p' "$0" >&2; exit 64; }
export BIDS_DIR=$1 OUTPUT_DIR=$2 BIDS_GROUP=${BIDS_GROUP:-bids-group} LABELS=${LABELS:-$PWD/bids-group-labels.txt}
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -ra common <<<"--parsable --export=ALL ${SBATCH_OPTIONS:-}"

# who has maps: the folders of the first-level dataset (set DERIVATIVES if it is not the only one)
for folder in "${DERIVATIVES:-$BIDS_DIR/derivatives/firstlevel}"/sub-*/; do basename "$folder"; done | sed 's/^sub-//' >"$LABELS"
n_labels=$(wc -l <"$LABELS")

array=$(sbatch "${common[@]}" --array="1-$n_labels%${AT_ONCE:-4}" "$here/participant.sh")
group=$(sbatch "${common[@]}" --dependency="afterok:$array" --kill-on-invalid-dep=yes "$here/group.sh" "$@")
echo "participant jobs: $array (1-$n_labels), group job: $group"
