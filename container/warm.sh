#!/bin/sh
# Runs once while the image is built: a whole analysis, which proves that the image works and leaves behind the bytecode
# of what a run imports and the kernels that numba compiles.
set -eu
export PYTHONDONTWRITEBYTECODE='' NUMBA_CACHE_DIR=/opt/bids-group/kernels
/opt/bids-group/bin/bids-group-demo /tmp/demo --kind one-sample >/dev/null
/opt/bids-group/bin/bids-group /tmp/demo /tmp/out group --formula '~ age' --smoothing-fwhm 6 --n-permutations 20 \
    --correction fdr bonferroni ari fwe-voxel fwe-size fwe-mass fwe-tfce
test -s /tmp/out/report.html
/opt/bids-group/bin/bids-group-demo /tmp/visits --kind paired >/dev/null
/opt/bids-group/bin/bids-group-demo /tmp/surfaces --kind surface >/dev/null
awk -F '\t' -v OFS='\t' 'NR == 1 { print $0, "family"; next } { print $0, "f" int(NR / 2) }' /tmp/visits/participants.tsv >/tmp/families.tsv
mv /tmp/families.tsv /tmp/visits/participants.tsv
# One run for each set of kernels that the first did not need: a user of a read-only image waits for none of them.
set -f
while read -r data options; do
    # shellcheck disable=SC2086
    /opt/bids-group/bin/bids-group "/tmp/$data" "/tmp/out-$data" group --overwrite --no-report --no-sensitivity $options </dev/null
done <<'RUNS'
visits --pooling none --formula ~session+(1|subject)
visits --pooling none --formula ~session+(1|family/subject)
visits --pooling none --formula ~session+(1+age|family)
visits --pooling none --formula ~group*session --estimator sandwich --correction fwe-voxel --n-permutations 20
visits --formula ~age --estimator weighted --correction fwe-voxel --n-permutations 20
visits --formula ~group --variance-groups group --correction fwe-voxel --n-permutations 20
surfaces --formula ~age --smoothing-fwhm 6 --correction fwe-size fwe-mass fwe-tfce --n-permutations 20
RUNS
rm -rf /tmp/demo /tmp/out /tmp/visits /tmp/surfaces /tmp/out-visits /tmp/out-surfaces
