#!/bin/sh
# What the container runs: bids-group, with a private place for what numba caches.
# The temporary folder may be the host's (Apptainer), so a folder of somebody else is never used.
set -eu
umask_before=$(umask)
umask 077
user=$(id -u)
cache=${TMPDIR:-/tmp}/bids-group-$user
mkdir "$cache" 2>/dev/null || [ "$(stat -c '%u %F' "$cache" 2>/dev/null)" = "$user directory" ] || cache=$(mktemp -d)
export NUMBA_CACHE_DIR="$cache/numba"
[ -d "$NUMBA_CACHE_DIR" ] || cp -r /opt/bids-group/kernels "$NUMBA_CACHE_DIR"
umask "$umask_before"
export BIDS_GROUP_CONTAINER="${BIDS_GROUP_CONTAINER:-bids-group:$(cat /version)}" # noted in the results
exec /opt/bids-group/bin/bids-group "$@"
