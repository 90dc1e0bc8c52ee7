#!/bin/sh
# Build DaliLite.v5: build-dali.sh TARBALL FOLDER [static] makes FOLDER/DaliLite.v5.
# The one place that tells how: the image (Apptainer.def) and `dpam-hpc dali install` both call it.
set -eu
umask 022

tar -xzf "$1" -C "$2" --no-same-owner
cd "$2/DaliLite.v5/bin"
# With the Makefile's own -O, gcc 12 makes a dsspcmbi that reads 0 residues of any file.
sed -i 's/cc -c  *-O /cc -c -O2 /' Makefile
if [ "${3:-}" = static ]; then
    # At a fixed address and without shared libraries: starts in half the time, same bytes.
    sed -i 's/cc -o/cc -static -no-pie -o/; s/-O3/-O3 -fno-pie -static -no-pie/' Makefile
fi
make
rm -f ./*.o ./*.mod
