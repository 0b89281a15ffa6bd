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
for more in '--formula ~session+(1|subject)' '--formula ~group*session --estimator sandwich --correction fwe-voxel --n-permutations 20'; do
    /opt/bids-group/bin/bids-group /tmp/visits /tmp/out-visits group --pooling none --overwrite --no-report --no-sensitivity $more
done
rm -rf /tmp/demo /tmp/out /tmp/visits /tmp/out-visits
