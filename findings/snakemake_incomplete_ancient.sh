#!/usr/bin/env bash
# 1. Seen with snakemake 9.27.1, Python 3.11.
# 2. A run was killed and left its mark on an output that is there ("incomplete"), and outputs further down are missing. Where inputs are
#    ancient(), `snakemake --rerun-incomplete` makes the marked output alone and ends with exit code 0: what is missing below it, the
#    requested target itself included, stays missing. The next run makes it. Without ancient() one run makes all.
# 3. One would expect ancient() to mean nothing but that file times are not compared: a missing file is made, or the run fails.
# 4. A study that goes on after a kill or a full queue (`--rerun-incomplete` stands in most profiles for clusters), with ancient() on
#    weights or data that a copy or a checkout has touched: the job ends well and the report is not there.
# 5. Seen on 2026-11-29 (weights marked; page and index, the target, missing):
#      plain inputs    exit code 0, made: weights page index
#      ancient inputs  exit code 0, made: weights
#      once more       exit code 0, made: page index
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet snakemake==9.27.1
cd "$folder"

made() { # Of the study in a folder: make it once more, and say what was made.
    local code=0
    (cd "$1" && "$folder/venv/bin/snakemake" --cores 1 --rerun-incomplete >log 2>&1) || code=$?
    echo "exit code $code, made: $(sed -n 's/^\(local\)\?rule \(.*\):$/\2/p' "$1/log" | grep -v all | tr '\n' ' ' | sed 's/ $//')"
}

for kind in plain ancient; do
    mkdir "$kind"
    around() { if [ "$kind" = ancient ]; then echo "ancient(\"$1\")"; else echo "\"$1\""; fi; }
    cat >"$kind/Snakefile" <<SNAKEFILE
rule all:
    input: $(around index)
rule weights:
    output: touch("weights")
rule page:
    input: $(around weights)
    output: touch("page")
rule index:
    input: $(around page)
    output: touch("index")
SNAKEFILE
    made "$kind" >/dev/null
    test -e "$kind/index"
    # What a kill in the middle of the first rule leaves.
    mkdir -p "$kind/.snakemake/incomplete"
    touch "$kind/.snakemake/incomplete/$(printf weights | base64)"
    rm "$kind/page" "$kind/index"
done
plain=$(made plain)
ancient=$(made ancient)
is_there=$(test -e ancient/index && echo there || echo missing)
again=$(made ancient)
echo "plain inputs    $plain"
echo "ancient inputs  $ancient"
echo "once more       $again"
[ "$plain" = "exit code 0, made: weights page index" ]
[ "$ancient" = "exit code 0, made: weights" ] && [ "$is_there" = missing ]
[ "$again" = "exit code 0, made: page index" ] && [ -e ancient/index ]
