#!/usr/bin/env bash
# What to run on a GPU that is free for ten minutes: the tests marked gpu, the pipeline's training and evaluation on
# packed data, then training speed at each size. The limits are those that an H100 with 16 cores was seen to need, most
# of it to compile: 124 s for all tests in six processes, 103 s for the rows of 1b (docs/log.md).
#
#   benchmarks/gpu.sh [PACKED] [RESULTS]      default: data/packed (a synthetic store if it is missing), .dti/gpu
#
# PYTHON names the interpreter; LIMIT the seconds that each part may take (default: each its own, ten minutes in all).
# A part out of time is interrupted and keeps the rounds that it finished; a part that fails stops no other. All results
# are printed last, with the list of what failed. The core dependencies are enough; pytest is optional.
set -uo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
packed=$(realpath -m "${1:-$root/data/packed}")
results=$(realpath -m "${2:-$root/.dti/gpu}")
cd "$root" || exit 1
python=${PYTHON:-python}
failed=() skipped=()
mkdir -p "$results" || exit 1

free=$("$python" -c 'import torch; print(torch.cuda.mem_get_info()[0] >> 30 if torch.cuda.is_available() else "")') ||
    { echo "ERROR: $python cannot import torch; set PYTHON" >&2; exit 1; }
[ -n "$free" ] || { echo "ERROR: no usable CUDA device" >&2; exit 1; }
"$python" -c 'import torch; print(torch.cuda.get_device_name(), "torch", torch.__version__)'
data=(--packed "$packed")
[ -f "$packed/meta.json" ] || { echo "$packed: no packed store; the data is synthetic"; data=(); }

part() { # NAME SECONDS COMMAND...
    local name=$1 limit=${LIMIT:-$2} begun=$SECONDS status
    shift 2
    echo "== $name"
    timeout --signal=INT --kill-after=10 "$limit" "$@" 2>&1 | tee "$results/$name.log"
    status=${PIPESTATUS[0]}
    if [ "$status" -ne 0 ] && [ $((SECONDS - begun)) -ge "$limit" ]; then
        failed+=("$name (out of time, $limit s, $results/$name.log)")
    elif [ "$status" -ne 0 ]; then
        failed+=("$name (exit $status, $results/$name.log)")
    fi
    echo "== $name: $((SECONDS - begun)) s"
}

speed() { # NAME SIZE SECONDS ARGUMENTS...
    local name=$1 size=$2 limit=$3
    shift 3
    rm -f "$results/$name.json"
    part "$name" "$limit" "$python" benchmarks/paradigms.py --size "$size" --device cuda --precision bf16 \
        ${data[@]+"${data[@]}"} --rounds 3 --seconds 2 --json "$results/$name.json" --plot "$results/$name.png" "$@"
}

several() { # TEST FILE...: one process each, as they compile most of the time
    local pids=() pid status=0
    for file; do "$python" -m pytest -rfEs -m gpu "$file" & pids+=($!); done
    trap 'kill -TERM "${pids[@]}" 2>/dev/null' INT # what runs in a shell's background does not hear INT
    for pid in "${pids[@]}"; do wait "$pid" || { [ $? -eq 5 ] || status=1; }; done # 5: no test is left of the file
    return $status
}
if "$python" -c 'import pytest' 2>/dev/null; then
    mapfile -t tests < <(grep -rlE 'pytest\.mark\.gpu' tests --include='test_*.py' | sort)
    export -f several
    export python
    part tests 150 bash -c 'several "$@"' tests "${tests[@]}"
else
    skipped+=("tests (no pytest)")
fi
rm -f "$results/training.txt"
if [ ${#data[@]} -gt 0 ]; then
    part training 90 "$python" benchmarks/pipeline.py "$packed" "$results/training" --summary "$results/training.txt"
else
    skipped+=("training (no packed store)")
fi
# All is compiled but attention, which compiles itself; LoRA has no dropout, as in the studies. Composing overlapping
# steps takes a CPU too many of these seconds; paradigms.py has their rows by default. Steps of the unique
# layout are one pass each. Steps of 16,000 targets are checkpointed and streams are not: limits count probes, too
# (12,288 tokens of 1b took 21 GiB, compiled).
rows=(--rows sliding sliding-blocks window-50 window-all isolated unique frozen --targets 1000 4000 16000)
large=$((free >= 70 ? 393216 : 16384)) own=$((free >= 70 ? 12288 : 4096))
usual=(--compile --lora-dropout 0 --warmup 2 --history --contexts --profile --activation-checkpointing)
speed 1b 1b 200 "${rows[@]}" --tokens-per-pass $large --stream-pass $own "${usual[@]}" $((free >= 70 ? 40960 : 6144))
speed 135m 135m 90 "${rows[@]}" --tokens-per-pass $large --stream-pass 32768 "${usual[@]}" $((free >= 70 ? 40960 : 20480))
if [ "$free" -ge 70 ]; then # 30 GiB of float32 weights until they are halved, activations
    speed 8b 8b 70 --quick --activation-checkpointing
else
    skipped+=("8b ($free GiB free, 70 needed)")
fi

echo
[ -f "$results/training.txt" ] && cat "$results/training.txt" && echo
tables=()
for name in 1b 135m 8b; do
    [ -f "$results/$name.json" ] && tables+=("$results/$name.json")
done
[ ${#tables[@]} -eq 0 ] || "$python" benchmarks/paradigms.py --table "${tables[@]}" --markdown "$results/speed.md"
for name in ${skipped[@]+"${skipped[@]}"}; do echo "skipped: $name"; done
for name in ${failed[@]+"${failed[@]}"}; do echo "FAILED: $name"; done
[ ${#failed[@]} -eq 0 ] && echo "all parts passed"
