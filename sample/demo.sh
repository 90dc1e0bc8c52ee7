#!/bin/sh
# The main job on the sample: called by `make demo` with the folder of the installed commands.
set -eu
bin=$1
work=demo/work
rm -rf "$work" && mkdir -p "$work"
for target in A0A0K2WPR7 O05011 r1bd2X; do
    cp "sample/$target.pdb" "sample/${target}_hits4Dali" "$work"
done

if "$bin/dpam-hpc" dali check 2>demo/why; then
    aligner=dali hits=_iterativdDali_hits
else
    cat demo/why
    echo
    echo "So this demo runs the same loop by TM-align. These are NOT DALI's hits:"
    aligner=tmalign hits=_iterativeTMalign_hits
fi
echo
"$bin/dpam-hpc" run "$work" --data-dir sample --aligner "$aligner" --min-free-gb 0.1

echo
printf '%-12s %-14s %8s %8s %8s %9s\n' target hit score aligned query template
for target in A0A0K2WPR7 O05011 r1bd2X; do
    awk -v target="$target" -F '\t' '/^>/ {
        printf "%-12s %-14s %8s %8s %8s %9s\n", target, substr($1, 2), $2, $3, $4, $5
    }' "$work/$target$hits"
done
if [ "$aligner" = dali ]; then
    for target in A0A0K2WPR7 O05011 r1bd2X; do
        cmp "$work/$target$hits" "sample/$target$hits"
    done
    echo "All hits are equal to upstream's, to the byte."
fi
echo "They are in $work."
"$bin/dpam-hpc" report "$work" -o demo/report.html >/dev/null
"$bin/dpam-hpc" report "$work" --target r1bd2X -o demo/r1bd2X.html >/dev/null
echo "The report of the run is demo/report.html, that of one protein demo/r1bd2X.html: open them in a browser."
