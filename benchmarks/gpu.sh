#!/usr/bin/env bash
# What to run on a GPU that is free for ten minutes: the tests marked gpu, then training speed at each size.
#
#   benchmarks/gpu.sh [PACKED] [RESULTS]      default: data/packed (a synthetic store if it is missing), .dti/gpu
#
# PYTHON names the interpreter, LIMIT the seconds that a part may take (default 180). A part that fails stops no other;
# all results are printed last, with the list of what failed. The core dependencies are enough; pytest is optional.
set -uo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
packed=$(realpath -m "${1:-$root/data/packed}")
results=$(realpath -m "${2:-$root/.dti/gpu}")
cd "$root" || exit 1
python=${PYTHON:-python}
limit=${LIMIT:-180}
failed=() skipped=()
mkdir -p "$results" || exit 1

free=$("$python" -c 'import torch; print(torch.cuda.mem_get_info()[0] >> 30 if torch.cuda.is_available() else "")') ||
    { echo "ERROR: $python cannot import torch; set PYTHON" >&2; exit 1; }
[ -n "$free" ] || { echo "ERROR: no usable CUDA device" >&2; exit 1; }
"$python" -c 'import torch; print(torch.cuda.get_device_name(), "torch", torch.__version__)'
data=(--packed "$packed")
[ -f "$packed/meta.json" ] || { echo "$packed: no packed store; the data is synthetic"; data=(); }

part() { # NAME COMMAND...
    local name=$1 begun=$SECONDS status
    shift
    echo "== $name"
    timeout "$limit" "$@" 2>&1 | tee "$results/$name.log"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed+=("$name (exit $status, $results/$name.log)")
    echo "== $name: $((SECONDS - begun)) s"
}

speed() { # SIZE ARGUMENTS...
    local size=$1
    shift
    rm -f "$results/$size.json"
    part "$size" "$python" benchmarks/paradigms.py --size "$size" --device cuda --precision bf16 ${data[@]+"${data[@]}"} \
        --rounds 3 --seconds 3 --json "$results/$size.json" --plot "$results/$size.png" "$@"
}

if "$python" -c 'import pytest' 2>/dev/null; then
    part tests "$python" -m pytest -m gpu --continue-on-collection-errors tests/attention tests/model tests/training
else
    skipped+=("tests (no pytest)")
fi
speed tiny --targets 1000 4000 16000
speed 135m --targets 1000 4000 --history
speed 1b --targets 1000 4000 --history
if [ "$free" -ge 70 ]; then # 30 GiB of float32 weights, their copies for bf16, activations
    speed 8b --quick --activation-checkpointing
else
    skipped+=("8b ($free GiB free, 70 needed)")
fi

echo
tables=()
for size in tiny 135m 1b 8b; do
    [ -f "$results/$size.json" ] && tables+=("$results/$size.json")
done
[ ${#tables[@]} -eq 0 ] || "$python" benchmarks/paradigms.py --table "${tables[@]}"
for name in ${skipped[@]+"${skipped[@]}"}; do echo "skipped: $name"; done
for name in ${failed[@]+"${failed[@]}"}; do echo "FAILED: $name"; done
[ ${#failed[@]} -eq 0 ] && echo "all parts passed"
